import { Button, Group, Text } from '@mantine/core';
import { useState } from 'react';
import { useSearchParams } from 'wouter';

import { download, pathUrl } from '../api/client';
import { useEventFiles, useFolder } from '../api/queries';
import { isFinal, type ArtifactEntry, type RunView } from '../api/types';
import { counted, shownBytes } from '../format/format';
import { Card } from '../shell/card';
import { Icon } from '../shell/icons';
import { Failure, Notice, PageLoader } from '../shell/notices';
import { Preview } from './preview';
import styles from './artifacts.module.css';

/** The files that a run keeps. */
export function ArtifactsTab({ run }: { run: RunView }) {
  const [search, setSearch] = useSearchParams();
  const root = useFolder(run.id, '', !isFinal(run.state));
  const [chosen, setChosen] = useState<ArtifactEntry | null>(null);
  const wanted = search.get('file');
  function choose(entry: ArtifactEntry) {
    setChosen(entry);
    setSearch({ file: entry.path }, { replace: true });
  }
  if (root.isPending) return <PageLoader />;
  if (root.error && !root.data) return <Failure error={root.error} />;
  const shown = chosen ?? root.data?.find((entry) => entry.path === wanted && !entry.is_folder) ?? null;
  return (
    <div className={styles.tab}>
      {root.data?.length === 0 ? (
        <Notice title={isFinal(run.state) ? 'This run kept no files' : 'No files yet'}>
          <Text c="dimmed">
            What the script writes to <code>$SEAFLOOR_OUTPUT_DIR</code>, and what{' '}
            <code>mlflow.log_artifact</code> is given, appears here.
          </Text>
        </Notice>
      ) : (
        <div className={styles.browser}>
          <nav className={styles.tree} aria-label="Files">
            <Folder run={run} listing={root} depth={0} chosen={shown?.path ?? wanted} onChoose={choose} />
          </nav>
          <div className={styles.preview}>
            {shown ? (
              <Preview key={shown.path} run={run} file={shown} />
            ) : (
              <Text c="dimmed" p="xl" ta="center">
                Choose a file to look into it.
              </Text>
            )}
          </div>
        </div>
      )}
      <EventFiles run={run} />
    </div>
  );
}

interface FolderProps {
  run: RunView;
  listing: ReturnType<typeof useFolder>;
  depth: number;
  chosen: string | null;
  onChoose: (entry: ArtifactEntry) => void;
}

function Folder({ run, listing, depth, chosen, onChoose }: FolderProps) {
  const sorted = [...(listing.data ?? [])].sort((a, b) => Number(b.is_folder) - Number(a.is_folder) || (a.path < b.path ? -1 : 1));
  return (
    <ul className={styles.list}>
      {sorted.map((entry) =>
        entry.is_folder ? (
          <SubFolder key={entry.path} run={run} entry={entry} depth={depth} chosen={chosen} onChoose={onChoose} />
        ) : (
          <li key={entry.path}>
            <button
              type="button"
              className={styles.entry}
              style={{ paddingLeft: `${depth * 1.1 + 1.5}rem` }}
              aria-current={chosen === entry.path}
              onClick={() => onChoose(entry)}
            >
              <Icon name="file" size={15} />
              <span className={styles.entryName}>{nameOf(entry.path)}</span>
              <span className={styles.size}>{shownBytes(entry.size_bytes)}</span>
            </button>
          </li>
        ),
      )}
      {listing.hasNextPage && (
        <li>
          <Button
            variant="default"
            size="xs"
            m="xs"
            loading={listing.isFetchingNextPage}
            onClick={() => void listing.fetchNextPage()}
          >
            More files
          </Button>
        </li>
      )}
    </ul>
  );
}

function SubFolder({ run, entry, depth, chosen, onChoose }: Omit<FolderProps, 'listing'> & { entry: ArtifactEntry }) {
  const [open, setOpen] = useState(chosen?.startsWith(`${entry.path}/`) ?? false);
  return (
    <li>
      <button
        type="button"
        className={styles.entry}
        style={{ paddingLeft: `${depth * 1.1 + 0.4}rem` }}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        <Icon name={open ? 'down' : 'right'} size={13} />
        <Icon name="folder" size={15} />
        <span className={styles.entryName}>{nameOf(entry.path)}</span>
        <span className={styles.size} title={counted(entry.files, 'file')}>
          {shownBytes(entry.size_bytes)}
        </span>
      </button>
      {open && <OpenFolder run={run} folder={entry.path} depth={depth + 1} chosen={chosen} onChoose={onChoose} />}
    </li>
  );
}

function OpenFolder({ folder, ...rest }: Omit<FolderProps, 'listing'> & { folder: string }) {
  const listing = useFolder(rest.run.id, folder, !isFinal(rest.run.state));
  if (listing.error && !listing.data) return <Failure error={listing.error} />;
  return <Folder listing={listing} {...rest} />;
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function EventFiles({ run }: { run: RunView }) {
  const { data } = useEventFiles(run);
  if (!data || data.length === 0) return null;
  return (
    <div className={styles.events}>
      <Card title="tf.events files">
        <table>
          <thead>
            <tr>
              <th scope="col">File</th>
              {run.attempt > 1 && <th scope="col">Attempt</th>}
              <th scope="col">Size</th>
              <th scope="col">Records</th>
              <th scope="col">Scalars</th>
              <th scope="col">
                <span className="visually-hidden">Download</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {data.map((file) => (
              <tr key={`${file.attempt}/${file.path}`}>
                <td>
                  <code>{file.path}</code>
                  {file.problem && (
                    <Text size="xs" c="orange">
                      {file.problem}
                    </Text>
                  )}
                </td>
                {run.attempt > 1 && <td>{file.attempt}</td>}
                <td>{shownBytes(file.size_bytes)}</td>
                <td>{file.records}</td>
                <td>{file.scalars}</td>
                <td>
                  <Group justify="flex-end">
                    <Button
                      size="compact-xs"
                      variant="default"
                      aria-label={`Download ${file.path}`}
                      onClick={() =>
                        void download(pathUrl(`/runs/${run.id}/event-files/${file.attempt}`, file.path), nameOf(file.path))
                      }
                    >
                      <Icon name="download" size={13} />
                    </Button>
                  </Group>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Card>
    </div>
  );
}
