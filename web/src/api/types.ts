/** The shapes of the native API, as `seafloor.wire` and `seafloor.domain` define them. */

/** A finite number, or the text of one that JSON cannot hold. */
export type WireNumber = number | 'NaN' | 'Infinity' | '-Infinity';

export const STATES = [
  'queued',
  'preparing',
  'running',
  'stopping',
  'succeeded',
  'failed',
  'stopped',
  'lost',
] as const;
export type RunState = (typeof STATES)[number];

const FINAL: ReadonlySet<RunState> = new Set(['succeeded', 'failed', 'stopped', 'lost']);

/** Whether nothing follows in this attempt. */
export function isFinal(state: RunState): boolean {
  return FINAL.has(state);
}

export interface GitCode {
  kind: 'git';
  url: string;
  commit: string;
  folder: string;
  ref: string | null;
}

export interface SnapshotCode {
  kind: 'snapshot';
  sha256: string;
  size_bytes: number;
  folder: string;
  subfolder: string;
  git_url: string | null;
  git_commit: string | null;
  git_branch: string | null;
  git_dirty: boolean | null;
}

export interface ArchiveCode {
  kind: 'archive';
  url: string;
  folder: string;
  size_bytes: number | null;
  etag: string | null;
  sha256: string | null;
  strip_components: number;
}

/** Code that was where the run started; nothing of it was localised. */
export interface ImageCode {
  kind: 'image';
  path: string | null;
}

export type CodeSource = GitCode | SnapshotCode | ArchiveCode | ImageCode;

export interface Receipt {
  kind: string;
  url: string;
  files: number;
  size_bytes: number;
  duration_s: number;
  cached: boolean;
  ref: string | null;
  commit: string | null;
  tree: string | null;
  sha256: string | null;
  submodules: Record<string, string>;
  lfs_files: number;
  etag: string | null;
  localizer: string;
}

/** Fields at their defaults are left out on the wire. */
export interface Ending {
  reason?: string;
  exit_code?: number | null;
  signal?: string | null;
  timed_out?: boolean;
  memory_exceeded?: boolean;
}

export interface MetricView {
  points: number;
  nans: number;
  last: WireNumber;
  last_step: number;
  last_time_ms: number;
  min: WireNumber | null;
  max: WireNumber | null;
  min_step: number | null;
  max_step: number | null;
}

export interface RunView {
  id: string;
  kind: string;
  project: string;
  experiment: { id: number; name: string };
  name: string;
  user: string;
  state: RunState;
  origin: 'launched' | 'tracked';
  created_ns: number;
  updated_ns: number;
  started_ns: number | null;
  ended_ns: number | null;
  deleted_ns: number | null;
  duration_s: number | null;
  attempt: number;
  url: string;
  code: CodeSource | null;
  environment: string | null;
  ending: Ending | null;
  params: Record<string, string>;
  tags: Record<string, string>;
  metrics: Record<string, MetricView>;
  spec: Record<string, unknown>;
}

export interface RunPage {
  items: RunView[];
  next: string | null;
}

export interface Attempt {
  number: number;
  state: RunState;
  created_ns: number;
  started_ns: number | null;
  ended_ns: number | null;
  ending: Ending | null;
  receipts: Record<string, Receipt>;
  environment: string | null;
  environment_digest: string | null;
  place: string | null;
  fence: number | null;
  launching_ns: number | null;
}

export interface RunEvent {
  sequence: number;
  time_ns: number;
  kind: 'state' | 'note' | 'warning';
  actor: string;
  message: string;
  attempt: number | null;
  state: RunState | null;
}

export interface Experiment {
  id: number;
  project: string;
  name: string;
  created_ns: number;
  deleted_ns: number | null;
  tags: Record<string, string>;
}

export interface EnvironmentView {
  reference: string;
  environment: {
    project: string;
    name: string;
    version: number;
    python: string;
    pip: string[];
    lock: string;
    digest: string;
    created_ns: number;
  };
  built: boolean;
  size_bytes: number | null;
}

/** step_first, step_last, time_ms_first, time_ms_last, first, last, min, max, points, nans. */
export type BucketTuple = [
  number,
  number,
  number,
  number,
  WireNumber,
  WireNumber,
  WireNumber | null,
  WireNumber | null,
  number,
  number,
];

export interface Chart {
  key: string;
  buckets: BucketTuple[];
}

export type LogStream = 'out' | 'err' | 'agent';

export interface LogLine {
  number: number;
  time_ns: number;
  stream: LogStream;
  text: string;
  end: string;
  continued: boolean;
}

export type MediaKind = 'histogram' | 'image' | 'table' | 'text' | 'audio';

/** What is known of the records of one key and kind without reading them. */
export interface MediaSeries {
  key: string;
  kind: MediaKind;
  records: number;
  step_min: number;
  step_max: number;
}

export interface MediaBlob {
  sha256: string;
  format: string;
  size_bytes: number;
}

export type MediaContent =
  | { kind: 'histogram'; edges: number[]; counts: number[]; odd: number }
  | { kind: 'image'; width: number | null; height: number | null }
  | { kind: 'table'; columns: string[]; rows: number }
  | { kind: 'text'; text: string | null }
  | { kind: 'audio'; sample_rate_hz: number | null; channels: number | null; duration_ms: number | null };

export interface MediaRecord {
  key: string;
  step: number;
  time_ms: number;
  content: MediaContent;
  blob: MediaBlob | null;
  place: number;
}

export interface MediaPage {
  items: MediaRecord[];
  next: string | null;
}

/** The log of a container that prepared a task's pod. */
export interface SetupLog {
  setup: string;
  lines: number;
  first_time_ns: number;
  finished: boolean;
}

export interface LogView {
  attempt: number;
  task: string;
  /** What prepared the task; null: the log is the task's own. */
  setup: string | null;
  lines: LogLine[];
  next_line: number;
  total_lines: number;
  lines_missing: number;
  finished: boolean;
}

export interface ArtifactEntry {
  path: string;
  is_folder: boolean;
  size_bytes: number;
  files: number;
  sha256: string | null;
}

export interface EventFile {
  path: string;
  attempt: number;
  size_bytes: number;
  records: number;
  scalars: number;
  problem: string | null;
}

export interface ComparedValue {
  key: string;
  values: (string | number | null)[];
  differs: boolean;
}

export interface Comparison {
  runs: RunView[];
  attributes: ComparedValue[];
  params: ComparedValue[];
  metrics: ComparedValue[];
}

export interface ServerInfo {
  version: string;
  url: string;
  started_ns: number;
  data_dir: string;
  python: string;
  authentication: 'none' | 'token';
}

export interface ErrorBody {
  code: string;
  message: string;
  field?: string;
  request_id?: string;
}
