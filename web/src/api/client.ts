/** Requests to the native API, with errors that can be shown. */
import { noteAnswer, noteSilence, token } from './connection';
import type { ErrorBody } from './types';

const ROOT = '/api/v1';

/** The server answered and refused. `message` is written for the user. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly field: string | undefined;
  readonly requestId: string | undefined;

  constructor(status: number, body: ErrorBody) {
    super(body.message);
    this.name = 'ApiError';
    this.status = status;
    this.code = body.code;
    this.field = body.field;
    this.requestId = body.request_id;
  }
}

/** No answer came: the server is away, or the network is. */
export class NoAnswer extends Error {
  constructor(cause: unknown) {
    super('The server does not answer.', { cause });
    this.name = 'NoAnswer';
  }
}

export type QueryValue = string | number | boolean | null | undefined | readonly string[];

/** A path of the API with its query; absent values are left out, lists are repeated. */
export function apiUrl(path: string, query: Record<string, QueryValue> = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === '') continue;
    if (typeof value === 'object') for (const one of value) search.append(key, one);
    else search.append(key, String(value));
  }
  const text = search.toString();
  return `${ROOT}${path}${text && '?'}${text}`;
}

/** The address of an artifact's bytes; every part of the path is escaped. */
export function pathUrl(prefix: string, path: string): string {
  return `${ROOT}${prefix}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

async function errorBody(response: Response): Promise<ErrorBody> {
  const fallback = { code: 'unknown', message: `The server answered ${response.status}.` };
  const text = await response.text();
  try {
    const body: unknown = JSON.parse(text);
    const shaped = typeof body === 'object' && body !== null && 'message' in body;
    return shaped ? { ...fallback, ...(body as ErrorBody) } : fallback;
  } catch {
    return fallback; // a proxy between us and the server answers in HTML
  }
}

/**
 * Fetch with the token of this tab.
 *
 * @throws ApiError when the server refuses, NoAnswer when there is none.
 */
export async function request(url: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const presented = token();
  if (presented !== null) headers.set('Authorization', `Bearer ${presented}`);
  let response: Response;
  try {
    response = await fetch(url, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    noteSilence();
    throw new NoAnswer(error);
  }
  if (response.status === 502 || response.status === 504) {
    noteSilence(); // a proxy says that the server behind it is away
    throw new NoAnswer(response.status);
  }
  noteAnswer(response.status);
  if (!response.ok) throw new ApiError(response.status, await errorBody(response));
  return response;
}

/** GET, decoded. */
export async function getJson<T>(url: string, signal?: AbortSignal): Promise<T> {
  const response = await request(url, signal ? { signal } : {});
  return (await response.json()) as T;
}

/** POST, PATCH or DELETE, decoded. */
export async function sendJson<T>(
  method: 'POST' | 'PATCH' | 'DELETE',
  url: string,
  body?: unknown,
): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { 'Content-Type': 'application/json' };
  }
  return (await (await request(url, init)).json()) as T;
}

/** What to show for an error of any kind. */
export function shownError(error: unknown): string {
  if (error instanceof Error) return error.message;
  return String(error);
}

/**
 * Save a file of the server to disk. Without a token this is a plain link; with one the bytes
 * have to pass through the page, because a link cannot carry a header.
 */
export async function download(url: string, name: string): Promise<void> {
  const link = document.createElement('a');
  link.download = name;
  if (token() === null) {
    link.href = url;
    link.click();
    return;
  }
  const object = URL.createObjectURL(await (await request(url)).blob());
  link.href = object;
  link.click();
  URL.revokeObjectURL(object);
}
