import { ActionIcon, Button, Checkbox, Group, NumberInput, Select, Text, TextInput, Tooltip } from '@mantine/core';
import { useLocalStorage } from '@mantine/hooks';
import { useMemo, useState, type KeyboardEvent } from 'react';
import { useSearchParams } from 'wouter';

import { apiUrl, download } from '../api/client';
import { useSetupLogs } from '../api/queries';
import { isFinal, type RunView } from '../api/types';
import { counted, grouped } from '../format/format';
import { taskNamesOf } from '../run/spec';
import { Icon } from '../shell/icons';
import { Failure, Notice, PageLoader } from '../shell/notices';
import { plainText } from './ansi';
import { LogRows } from './log-view';
import { rowsOf, type LogRow } from './log-window';
import styles from './logs.module.css';
import { useLog, which } from './use-log';

const STREAMS = [
  { value: 'all', label: 'All output' },
  { value: 'out', label: 'stdout' },
  { value: 'err', label: 'stderr' },
  { value: 'agent', label: 'Seafloor' },
];

interface Look {
  numbers: boolean;
  times: boolean;
  collapse: boolean;
}

/** What a run prints. */
export function LogsTab({ run }: { run: RunView }) {
  const [chosen, setChosen] = useState<number | null>(null);
  const attempt = chosen ?? run.attempt; // a further attempt is shown as soon as it begins
  const names = taskNamesOf(run.spec);
  const [chosenTask, setChosenTask] = useState<string | null>(null);
  const task = chosenTask ?? names[0] ?? null;
  const setups = useSetupLogs(run, attempt, task).data ?? [];
  const [chosenSetup, setChosenSetup] = useState<string | null>(null);
  const setup = setups.some((one) => one.setup === chosenSetup) ? chosenSetup : null;
  if (run.origin === 'tracked') {
    return (
      <Notice title="No log here">
        <Text c="dimmed">
          This run is executed by an outside client, which shows its own output. Seafloor keeps the log
          of what it starts: <code>seafloor run -- python train.py</code>.
        </Text>
      </Notice>
    );
  }
  return (
    <Log
      key={`${attempt} ${task} ${setup}`}
      run={run}
      attempt={attempt}
      task={task}
      setup={setup}
      setups={
        setups.length > 0 && (
          <Select
            size="xs"
            w={150}
            aria-label="Log"
            title="What prepared the pod has logs of its own"
            allowDeselect={false}
            data={[{ value: '', label: 'The command' }, ...setups.map((one) => one.setup)]}
            value={setup ?? ''}
            onChange={(value) => setChosenSetup(value || null)}
          />
        )
      }
      tasks={
        names.length > 1 && (
          <Select
            size="xs"
            w={150}
            searchable
            aria-label="Task"
            allowDeselect={false}
            data={names}
            value={task}
            onChange={setChosenTask}
          />
        )
      }
      attempts={
        run.attempt > 1 && (
          <Select
            size="xs"
            w={120}
            aria-label="Attempt"
            allowDeselect={false}
            data={Array.from({ length: run.attempt }, (_, at) => ({
              value: String(at + 1),
              label: `Attempt ${at + 1}`,
            }))}
            value={String(attempt)}
            onChange={(value) => setChosen(Number(value) === run.attempt ? null : Number(value))}
          />
        )
      }
    />
  );
}

interface LogProps {
  run: RunView;
  attempt: number;
  task: string | null;
  setup: string | null;
  attempts: React.ReactNode;
  tasks: React.ReactNode;
  setups: React.ReactNode;
}

function Log({ run, attempt, task, setup, attempts, tasks, setups }: LogProps) {
  const [search, setSearch] = useSearchParams();
  const linked = Number(search.get('line')) || null;
  const [look, setLook] = useLocalStorage<Look>({
    key: 'seafloor.logs',
    defaultValue: { numbers: true, times: false, collapse: true },
  });
  const [stream, setStream] = useState('all');
  const [following, setFollowing] = useState(linked === null);
  const [shown, setShown] = useState<{ line: number } | null>(linked === null ? null : { line: linked });
  const log = useLog({ run: run.id, attempt, task, setup }, linked ?? 'end', following);
  const rows = useMemo(
    () => rowsOf(log.window, { collapse: look.collapse, stream: stream === 'all' ? null : stream }),
    [log.window, look.collapse, stream],
  );

  async function jump(target: 'start' | 'end' | number) {
    setFollowing(target === 'end');
    const { lines, atStart, atEnd } = log.window;
    const number = target === 'start' ? 1 : target;
    const inside =
      number === 'end'
        ? atEnd
        : number === 1
          ? atStart
          : number >= (lines[0]?.number ?? Infinity) && number <= (lines.at(-1)?.number ?? -1);
    if (!inside) await log.open(target);
    if (number !== 'end') setShown({ line: number });
    if (number === 'end') setShown(null);
  }

  function link(line: number) {
    setShown({ line });
    setSearch({ line: String(line) }, { replace: true });
  }

  const found = useHits(rows, (line) => {
    setFollowing(false);
    setShown({ line });
  });

  const fileName = [run.name, attempt, task, setup].filter((part) => part !== null).join('-') + '.log';

  if (!log.loaded && log.error) return <Failure error={log.error} />;
  return (
    <section className={styles.tab} aria-label="Log">
      <Group className={styles.bar} gap="sm">
        <Checkbox
          size="xs"
          label="Follow"
          checked={following}
          disabled={log.window.finished && log.window.atEnd && !following}
          onChange={(event) => (event.currentTarget.checked ? void jump('end') : setFollowing(false))}
        />
        <SearchBox {...found} />
        <JumpBox total={log.window.nextLine - 1} onJump={(target) => void jump(target)} />
        <Select
          size="xs"
          w={116}
          aria-label="Stream"
          allowDeselect={false}
          data={STREAMS}
          value={stream}
          onChange={(value) => setStream(value ?? 'all')}
        />
        {attempts}
        {tasks}
        {setups}
        <LookBoxes look={look} onChange={setLook} />
        <Text size="xs" c="dimmed" ml="auto" data-testid="log-total" role="status">
          {log.live && <span className={styles.live}>live</span>}
          {counted(log.window.totalLines, 'line')}
          {log.window.linesMissing > 0 && `, ${grouped(log.window.linesMissing)} missing`}
        </Text>
        <Button
          size="compact-xs"
          variant="default"
          leftSection={<Icon name="download" size={13} />}
          onClick={() => void download(apiUrl(`/runs/${run.id}/logs/raw`, which({ attempt, task, setup })), fileName)}
        >
          Raw
        </Button>
      </Group>
      {log.loaded && rows.length > 0 && (
        <LogRows
          rows={rows}
          numbers={look.numbers}
          times={look.times}
          search={found.needle}
          following={following}
          onFollowing={setFollowing}
          shown={shown}
          loadBefore={log.loadBefore}
          loadAfter={log.loadAfter}
          full={log.full}
          onNumber={link}
        />
      )}
      {!log.loaded && <PageLoader />}
      {log.loaded && rows.length === 0 && (
        <Notice title={isFinal(run.state) ? 'Nothing was printed' : 'Nothing printed yet'}>
          <Text c="dimmed">
            {setups
              ? 'What prepared the pod has logs of its own: choose one beside “Stream”.'
              : 'Lines appear here as they are printed.'}
          </Text>
        </Notice>
      )}
    </section>
  );
}

/** Search among the rows that are loaded. */
function useHits(rows: readonly LogRow[], show: (line: number) => void) {
  const [text, setText] = useState('');
  const [at, setAt] = useState<number | null>(null);
  const needle = text.trim();
  const hits = useMemo(() => {
    if (needle === '') return [];
    const wanted = needle.toLowerCase();
    return rows.flatMap((row) =>
      row.kind === 'line' && plainText(row.text).toLowerCase().includes(wanted) ? [row.line.number] : [],
    );
  }, [rows, needle]);
  function type(typed: string) {
    setText(typed);
    setAt(null);
  }
  function go(by: 1 | -1) {
    if (hits.length === 0) return;
    const from = at ?? (by === 1 ? -1 : 0);
    const next = (from + by + hits.length) % hits.length;
    setAt(next);
    show(hits[next] ?? 0);
  }
  return { text, type, needle, hits, at, go };
}

function SearchBox({ text, type, needle, hits, at, go }: ReturnType<typeof useHits>) {
  function onKeyDown(event: KeyboardEvent) {
    if (event.key === 'Enter') go(event.shiftKey ? -1 : 1);
    if (event.key === 'Escape') type('');
  }
  return (
    <Group gap={4} wrap="nowrap">
      <TextInput
        size="xs"
        w={210}
        leftSection={<Icon name="search" size={14} />}
        placeholder="Find in the loaded lines"
        aria-label="Find in the loaded lines"
        value={text}
        onChange={(event) => type(event.currentTarget.value)}
        onKeyDown={onKeyDown}
        rightSectionWidth={62}
        rightSection={
          needle !== '' && (
            <Text size="xs" c="dimmed" role="status">
              {shownHits(hits.length, at)}
            </Text>
          )
        }
      />
      <ActionIcon size="sm" variant="subtle" color="gray" aria-label="Previous hit" disabled={hits.length === 0} onClick={() => go(-1)}>
        <Icon name="up" />
      </ActionIcon>
      <ActionIcon size="sm" variant="subtle" color="gray" aria-label="Next hit" disabled={hits.length === 0} onClick={() => go(1)}>
        <Icon name="down" />
      </ActionIcon>
    </Group>
  );
}

function shownHits(count: number, at: number | null): string {
  if (count === 0) return 'none';
  return at === null ? grouped(count) : `${Math.min(at + 1, count)}/${grouped(count)}`;
}

function JumpBox({ total, onJump }: { total: number; onJump: (target: 'start' | 'end' | number) => void }) {
  const [text, setText] = useState<number | string>('');
  const number = Number(text);
  return (
    <Group gap={4} wrap="nowrap">
      <NumberInput
        size="xs"
        w={104}
        hideControls
        allowDecimal={false}
        allowNegative={false}
        placeholder="Go to line"
        aria-label="Go to line"
        value={text}
        onChange={setText}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && number >= 1) onJump(Math.min(number, Math.max(1, total)));
        }}
      />
      <Tooltip label="Start of the log">
        <ActionIcon size="sm" variant="subtle" color="gray" aria-label="Start of the log" onClick={() => onJump('start')}>
          <Icon name="start" />
        </ActionIcon>
      </Tooltip>
      <Tooltip label="End of the log">
        <ActionIcon size="sm" variant="subtle" color="gray" aria-label="End of the log" onClick={() => onJump('end')}>
          <Icon name="end" />
        </ActionIcon>
      </Tooltip>
    </Group>
  );
}

function LookBoxes({ look, onChange }: { look: Look; onChange: (look: Look) => void }) {
  const boxes: [keyof Look, string, string][] = [
    ['numbers', 'Numbers', 'Show line numbers'],
    ['times', 'Times', 'Show when each line was printed'],
    ['collapse', 'Progress', 'Show only the last state of progress bars'],
  ];
  return (
    <>
      {boxes.map(([name, label, title]) => (
        <Checkbox
          key={name}
          size="xs"
          label={name === 'collapse' ? 'Collapse progress' : label}
          title={title}
          checked={look[name]}
          onChange={(event) => onChange({ ...look, [name]: event.currentTarget.checked })}
        />
      ))}
    </>
  );
}
