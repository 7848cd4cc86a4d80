import { Anchor, Badge, Text } from '@mantine/core';
import type { ReactNode } from 'react';

import type { ArchiveCode, CodeSource, GitCode, ImageCode, Receipt, SnapshotCode } from '../api/types';
import { counted, short, shownBytes, shownDuration } from '../format/format';
import { Card, Facts } from '../shell/card';
import { Copy } from '../shell/copy';
import styles from './overview.module.css';

interface Props {
  code: CodeSource | null;
  receipts: Record<string, Receipt>;
}

/** Which code ran, and the proof of it. */
export function CodeCard({ code, receipts }: Props) {
  return (
    <Card title="Code" aside={code && <KindBadge code={code} />}>
      {code === null && (
        <Text size="sm" c="dimmed">
          The command ran without code of its own.
        </Text>
      )}
      {code?.kind === 'git' && <Facts items={gitFacts(code)} />}
      {code?.kind === 'snapshot' && <Facts items={snapshotFacts(code)} />}
      {code?.kind === 'archive' && <Facts items={archiveFacts(code)} />}
      {code?.kind === 'image' && <Facts items={imageFacts(code)} />}
      {Object.entries(receipts).map(([folder, receipt]) => (
        <ReceiptLine key={folder} folder={folder} receipt={receipt} />
      ))}
    </Card>
  );
}

function KindBadge({ code }: { code: CodeSource }) {
  if (code.kind === 'git') return <Badge variant="light" tt="none">git</Badge>;
  if (code.kind === 'archive') return <Badge variant="light" tt="none">archive</Badge>;
  if (code.kind === 'image') return <Badge variant="light" tt="none" color="orange">image, not proven</Badge>;
  return (
    <Badge variant="light" tt="none" color={code.git_dirty ? 'orange' : 'sea'}>
      {code.git_dirty ? 'snapshot, with changes' : 'snapshot'}
    </Badge>
  );
}

function gitFacts(code: GitCode): [string, ReactNode][] {
  return [
    ['Repository', <Repository key="url" url={code.url} />],
    ['Ref', code.ref ?? 'default branch'],
    ['Commit', <Digest key="commit" text={code.commit} what="the commit" />],
    ['Folder', <code key="folder">/code/{code.folder}</code>],
  ];
}

function snapshotFacts(code: SnapshotCode): [string, ReactNode][] {
  return [
    ['Snapshot', <Digest key="sha" text={code.sha256} what="the digest" />],
    ['Size', shownBytes(code.size_bytes)],
    ['Folder', <code key="folder">/code/{[code.folder, code.subfolder].filter(Boolean).join('/')}</code>],
    ['Repository', code.git_url && <Repository url={code.git_url} />],
    ['Branch', code.git_branch],
    ['Commit', code.git_commit && <Digest text={code.git_commit} what="the commit" />],
    ['Working tree', code.git_dirty === null ? null : dirtiness(code.git_dirty)],
  ];
}

function archiveFacts(code: ArchiveCode): [string, ReactNode][] {
  return [
    ['Archive', <Repository key="url" url={code.url} />],
    ['Size', code.size_bytes === null ? null : shownBytes(code.size_bytes)],
    ['Digest', code.sha256 && <Digest key="sha" text={code.sha256} what="the digest" />],
    ['ETag', code.etag && <code key="etag">{code.etag}</code>],
    ['Folder', <code key="folder">/code/{code.folder}</code>],
  ];
}

function imageFacts(code: ImageCode): [string, ReactNode][] {
  return [
    ['Path', code.path && <code key="path">{code.path}</code>],
    ['Proof', 'none: the code was taken as it lay where the run started'],
  ];
}

function dirtiness(dirty: boolean): string {
  return dirty ? 'had changes that are in no commit; the snapshot holds them' : 'was as committed';
}

function Repository({ url }: { url: string }) {
  if (!/^https?:\/\//.test(url)) return <code>{url}</code>;
  return (
    <Anchor href={url} size="sm" rel="noreferrer noopener" target="_blank">
      {url}
    </Anchor>
  );
}

export function Digest({ text, what }: { text: string; what: string }) {
  return (
    <span className={styles.digest}>
      <code title={text}>{short(text)}</code>
      <Copy text={text} what={what} />
    </span>
  );
}

function ReceiptLine({ folder, receipt }: { folder: string; receipt: Receipt }) {
  const got = receipt.cached ? 'from the cache' : 'fetched';
  const submodules = Object.keys(receipt.submodules).length;
  return (
    <p className={styles.receipt}>
      Receipt: <code>{folder}</code>, {counted(receipt.files, 'file')}, {shownBytes(receipt.size_bytes)}, {got} in{' '}
      {shownDuration(receipt.duration_s)}
      {receipt.sha256 && (
        <>
          , sha256 <code title={receipt.sha256}>{short(receipt.sha256)}</code>
        </>
      )}
      {receipt.tree && (
        <>
          , tree <code title={receipt.tree}>{short(receipt.tree)}</code>
        </>
      )}
      {submodules > 0 && `, ${counted(submodules, 'submodule')}`}
      {receipt.lfs_files > 0 && `, ${counted(receipt.lfs_files, 'large file')}`}
    </p>
  );
}
