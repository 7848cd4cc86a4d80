import { Button, Group, Pagination, Text } from '@mantine/core';
import { useEffect, useState } from 'react';
import { useQuery } from '@tanstack/react-query';

import { download, apiUrl, request } from '../api/client';
import { useMediaBlob } from '../api/queries';
import type { MediaBlob, MediaRecord } from '../api/types';
import { counted, grouped, shownBytes, shownDuration } from '../format/format';
import { Icon } from '../shell/icons';
import { Failure } from '../shell/notices';
import { HistogramView } from './histogram';
import styles from './media.module.css';
import { parseMediaTable, shownCell } from './table';

/** Larger ones are fetched when somebody asks for them. */
const SHOWN_BYTES_MAX = 8 * 1024 * 1024;
const TEXT_BYTES_MAX = 256 * 1024;
const TABLE_BYTES_MAX = 16 * 1024 * 1024;
const ROWS_PER_PAGE = 25;
const COLUMNS_MAX = 60;

interface Props {
  run: string;
  record: MediaRecord;
}

/** One record, shown without anything of it being executed or becoming markup. */
export function MediaItem({ run, record }: Props) {
  const { content, blob } = record;
  if (content.kind === 'histogram') return <HistogramView {...content} />;
  if (content.kind === 'text' && content.text !== null) return <TextView text={content.text} />;
  if (blob === null) return null;
  const url = apiUrl(`/runs/${run}/media/blobs/${blob.sha256}.${blob.format}`);
  const name = `${record.key.replaceAll(/[^\w.-]+/g, '-')}-${record.step}-${record.place}.${blob.format}`;
  const save = () => void download(url, name);
  switch (content.kind) {
    case 'image':
      return <ImageView record={record} url={url} blob={blob} save={save} />;
    case 'audio':
      return <AudioView record={record} url={url} blob={blob} save={save} />;
    case 'text':
      return <LongText url={url} blob={blob} save={save} />;
    case 'table':
      return <TableView url={url} blob={blob} save={save} />;
  }
}

interface BlobProps {
  url: string;
  blob: MediaBlob;
  save: () => void;
}

/** An address of a blob's bytes within this page, once they are there. */
function useObjectUrl(url: string, enabled: boolean) {
  const { data, error } = useMediaBlob(url, enabled);
  const [source, setSource] = useState<string | null>(null);
  useEffect(() => {
    if (data === undefined) return;
    const made = URL.createObjectURL(data);
    setSource(made);
    return () => URL.revokeObjectURL(made);
  }, [data]);
  return { source, error };
}

function ImageView({ record, url, blob, save }: BlobProps & { record: MediaRecord }) {
  const [wanted, setWanted] = useState(blob.size_bytes <= SHOWN_BYTES_MAX);
  const { source, error } = useObjectUrl(url, wanted);
  if (error) return <Failure error={error} />;
  if (!wanted) return <Large blob={blob} show={() => setWanted(true)} save={save} />;
  const { width, height } = record.content as { width?: number | null; height?: number | null };
  const ratio = width && height ? { aspectRatio: `${width} / ${height}` } : {};
  // A digit of 28 pixels is shown by its pixels, not as a blur.
  const rendering = width && width < 100 ? { imageRendering: 'pixelated' as const } : {};
  return (
    <button type="button" className={styles.image} title="Download" onClick={save} style={ratio}>
      {source !== null && (
        <img src={source} alt={`${record.key}, step ${record.step}, ${record.place + 1}`} style={rendering} />
      )}
    </button>
  );
}

function AudioView({ record, url, blob, save }: BlobProps & { record: MediaRecord }) {
  const [wanted, setWanted] = useState(blob.size_bytes <= SHOWN_BYTES_MAX);
  const { source, error } = useObjectUrl(url, wanted);
  if (error) return <Failure error={error} />;
  const about = record.content.kind === 'audio' ? record.content : null;
  const said = [
    about?.duration_ms ? shownDuration(about.duration_ms / 1000) : null,
    about?.sample_rate_hz ? `${grouped(about.sample_rate_hz)} Hz` : null,
    about?.channels ? counted(about.channels, 'channel') : null,
    shownBytes(blob.size_bytes),
  ];
  return (
    <div className={styles.audio}>
      {wanted ? (
        source !== null && (
          <audio controls preload="metadata" src={source} aria-label={`${record.key}, step ${record.step}`} />
        )
      ) : (
        <Large blob={blob} show={() => setWanted(true)} save={save} />
      )}
      <Text size="xs" c="dimmed">
        {said.filter((part) => part !== null).join(' · ')}
      </Text>
    </div>
  );
}

function TextView({ text }: { text: string }) {
  return (
    <pre className={styles.text} tabIndex={0}>
      {text}
    </pre>
  );
}

function LongText({ url, blob, save }: BlobProps) {
  const { data, error } = useBlobText(url, TEXT_BYTES_MAX);
  if (error) return <Failure error={error} />;
  if (data === undefined) return null;
  return (
    <>
      <TextView text={data} />
      <Group gap="xs">
        {blob.size_bytes > TEXT_BYTES_MAX && (
          <Text size="xs" c="dimmed">
            The first {shownBytes(TEXT_BYTES_MAX)} of {shownBytes(blob.size_bytes)}
          </Text>
        )}
        <Save save={save} />
      </Group>
    </>
  );
}

/** The first bytes of a blob as text. */
function useBlobText(url: string, bytesMax: number, enabled = true) {
  return useQuery({
    queryKey: ['media-text', url, bytesMax],
    queryFn: async ({ signal }) => {
      const answer = await request(url, { signal, headers: { Range: `bytes=0-${bytesMax - 1}` } });
      return new TextDecoder().decode(await answer.arrayBuffer());
    },
    staleTime: Infinity,
    gcTime: 0,
    enabled,
  });
}

function TableView({ url, blob, save }: BlobProps) {
  const small = blob.size_bytes <= TABLE_BYTES_MAX;
  const { data: table, error } = useQuery({
    queryKey: ['media-table', url],
    queryFn: async ({ signal }) => parseMediaTable(await (await request(url, { signal })).text()),
    staleTime: Infinity,
    gcTime: 0,
    enabled: small,
  });
  const [page, setPage] = useState(1);
  if (error) return <Failure error={error} />;
  if (!small || table === null) {
    return (
      <Group gap="xs" p="sm">
        <Text size="sm" c="dimmed">
          {small ? 'These bytes are no table.' : `A table of ${shownBytes(blob.size_bytes)} is not shown here.`}
        </Text>
        <Save save={save} />
      </Group>
    );
  }
  if (table === undefined) return null;
  const columns = table.columns.slice(0, COLUMNS_MAX);
  const first = (page - 1) * ROWS_PER_PAGE;
  return (
    <div>
      <div className={styles.table}>
        <table>
          <thead>
            <tr>
              {columns.map((column, at) => (
                <th key={at} scope="col">
                  {column}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {table.rows.slice(first, first + ROWS_PER_PAGE).map((row, index) => (
              <tr key={first + index}>
                {columns.map((_, at) => (
                  <td key={at}>{shownCell(row[at])}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Group gap="xs" pt={6}>
        <Text size="xs" c="dimmed">
          {counted(table.rows.length, 'row')}
          {table.columns.length > COLUMNS_MAX && `, the first ${COLUMNS_MAX} of ${grouped(table.columns.length)} columns`}
        </Text>
        {table.rows.length > ROWS_PER_PAGE && (
          <Pagination
            size="xs"
            total={Math.ceil(table.rows.length / ROWS_PER_PAGE)}
            value={page}
            onChange={setPage}
            getItemProps={(number) => ({ 'aria-label': `Rows, page ${number}` })}
          />
        )}
        <Save save={save} />
      </Group>
    </div>
  );
}

function Large({ blob, show, save }: { blob: MediaBlob; show: () => void; save: () => void }) {
  return (
    <Group gap="xs">
      <Button size="compact-xs" variant="default" onClick={show}>
        Show {shownBytes(blob.size_bytes)}
      </Button>
      <Save save={save} />
    </Group>
  );
}

function Save({ save }: { save: () => void }) {
  return (
    <Button size="compact-xs" variant="default" ml="auto" leftSection={<Icon name="download" size={13} />} onClick={save}>
      Download
    </Button>
  );
}
