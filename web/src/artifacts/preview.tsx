import { Button, Group, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState } from 'react';

import { download, pathUrl, request } from '../api/client';
import type { ArtifactEntry, RunView } from '../api/types';
import { counted, short, shownBytes } from '../format/format';
import { Copy } from '../shell/copy';
import { Icon } from '../shell/icons';
import { Failure, PageLoader } from '../shell/notices';
import { looksLikeText, parseTable, prettyJson, previewKind, type PreviewKind } from './preview-kind';
import styles from './artifacts.module.css';

const TEXT_BYTES_MAX = 256 * 1024;
const IMAGE_BYTES_MAX = 32 * 1024 * 1024;
const TABLE_ROWS_MAX = 500;

interface Props {
  run: RunView;
  file: ArtifactEntry;
}

/** A file: what it is, and a look into it. */
export function Preview({ run, file }: Props) {
  const url = pathUrl(`/runs/${run.id}/artifacts`, file.path);
  const name = file.path.slice(file.path.lastIndexOf('/') + 1);
  return (
    <>
      <Group className={styles.fileBar} gap="md" wrap="nowrap">
        <Text size="sm" fw={600} truncate title={file.path}>
          {file.path}
        </Text>
        <Text size="xs" c="dimmed" className={styles.noWrap}>
          {shownBytes(file.size_bytes)}
        </Text>
        {file.sha256 && (
          <Group gap={4} wrap="nowrap">
            <Text size="xs" c="dimmed" className={styles.noWrap}>
              sha256 <code title={file.sha256}>{short(file.sha256)}</code>
            </Text>
            <Copy text={file.sha256} what="the sha256" />
          </Group>
        )}
        <Button
          size="compact-sm"
          variant="default"
          ml="auto"
          flex="none"
          leftSection={<Icon name="download" size={14} />}
          onClick={() => void download(url, name)}
        >
          Download
        </Button>
      </Group>
      <Content url={url} file={file} kind={previewKind(file.path)} />
    </>
  );
}

function Content({ url, file, kind }: { url: string; file: ArtifactEntry; kind: PreviewKind }) {
  if (file.size_bytes === 0) return <Nothing>The file is empty.</Nothing>;
  if (kind === 'none') return <Nothing>There is no preview of this kind of file.</Nothing>;
  if (kind === 'image') {
    if (file.size_bytes > IMAGE_BYTES_MAX) return <Nothing>The image is too large to show here.</Nothing>;
    return <ImageContent url={url} file={file} />;
  }
  return <TextContent url={url} file={file} kind={kind} />;
}

function Nothing({ children }: { children: string }) {
  return (
    <Text c="dimmed" p="xl" ta="center">
      {children}
    </Text>
  );
}

/** Bytes come by fetch, so that a token can go with the request; the blob is shown as an image only. */
function ImageContent({ url, file }: { url: string; file: ArtifactEntry }) {
  const { data, error } = useQuery({
    queryKey: ['image', url, file.sha256],
    queryFn: async ({ signal }) => (await request(url, { signal })).blob(),
    staleTime: Infinity,
    gcTime: 0,
  });
  const [source, setSource] = useState<string | null>(null);
  useEffect(() => {
    if (data === undefined) return;
    const made = URL.createObjectURL(data);
    setSource(made);
    return () => URL.revokeObjectURL(made);
  }, [data]);
  if (error) return <Failure error={error} />;
  if (source === null) return <PageLoader />;
  return (
    <div className={styles.image}>
      <img src={source} alt={file.path} />
    </div>
  );
}

function TextContent({ url, file, kind }: { url: string; file: ArtifactEntry; kind: PreviewKind }) {
  const whole = file.size_bytes <= TEXT_BYTES_MAX;
  const { data, error } = useQuery({
    queryKey: ['text', url, file.sha256],
    queryFn: async ({ signal }) => {
      const headers: HeadersInit = whole ? {} : { Range: `bytes=0-${TEXT_BYTES_MAX - 1}` };
      const bytes = await (await request(url, { signal, headers })).arrayBuffer();
      return new TextDecoder().decode(bytes);
    },
    staleTime: Infinity,
  });
  if (error) return <Failure error={error} />;
  if (data === undefined) return <PageLoader />;
  if (!looksLikeText(data)) return <Nothing>These bytes are not text.</Nothing>;
  return (
    <>
      {!whole && (
        <Text size="xs" c="dimmed" px="md" py={4}>
          The first {shownBytes(TEXT_BYTES_MAX)} of {shownBytes(file.size_bytes)}
        </Text>
      )}
      {kind === 'table' ? (
        <TableContent text={data} separator={file.path.endsWith('.tsv') ? '\t' : ','} whole={whole} />
      ) : (
        <pre className={styles.text} tabIndex={0}>
          {kind === 'json' && whole ? prettyJson(data) : data}
        </pre>
      )}
    </>
  );
}

function TableContent({ text, separator, whole }: { text: string; separator: string; whole: boolean }) {
  const [head = [], ...rows] = parseTable(text, separator, whole);
  return (
    <div className={styles.table}>
      <table>
        <thead>
          <tr>
            {head.map((cell, at) => (
              <th key={at} scope="col">
                {cell}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, TABLE_ROWS_MAX).map((row, index) => (
            <tr key={index}>
              {row.map((cell, at) => (
                <td key={at}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > TABLE_ROWS_MAX && (
        <Text size="xs" c="dimmed" p="sm">
          The first {counted(TABLE_ROWS_MAX, 'row')} of {whole ? '' : 'at least '}
          {rows.length}.
        </Text>
      )}
    </div>
  );
}
