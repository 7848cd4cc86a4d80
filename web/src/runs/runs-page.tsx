import { Button, Code, Group, MultiSelect, Select, Text, TextInput } from '@mantine/core';
import { useDebouncedValue, useLocalStorage } from '@mantine/hooks';
import type { RowSelectionState } from '@tanstack/react-table';
import { useCallback, useMemo, useState } from 'react';
import { Link, useSearchParams } from 'wouter';

import { ApiError, NoAnswer, shownError } from '../api/client';
import { useExperiments, useRunAction, useRuns, type RunAction } from '../api/queries';
import { isFinal, STATES, type RunView } from '../api/types';
import { counted } from '../format/format';
import { Copy } from '../shell/copy';
import { Icon } from '../shell/icons';
import { Failure, Notice, PageLoader } from '../shell/notices';
import { useTitle } from '../shell/title';
import { ColumnPicker } from './column-picker';
import { columnsOf, mergedKeys, usualColumns } from './columns';
import { DeleteRuns } from './delete-runs';
import { filterOf } from './filter';
import styles from './runs-page.module.css';
import { RunsTable } from './runs-table';

const COMPARED_MAX = 20;
const FIRST_COMMAND = 'seafloor run -- python train.py';

/** The table of runs. What is asked stands in the address, so that it can be shared. */
export function RunsPage() {
  useTitle('Runs');
  const question = useQuestion();
  const [typed] = useDebouncedValue(question.text, 300);
  const runs = useRuns({
    filter: filterOf(typed),
    experiment: question.experiment,
    states: question.states,
    order: question.order,
  });
  const experiments = useExperiments();
  const [selection, setSelection] = useState<RowSelectionState>({});
  const loaded = useMemo(() => unique(runs.data?.pages.flatMap((page) => page.items) ?? []), [runs.data]);
  const { columns, shown, pick } = useColumns(loaded);
  const { fetchNextPage } = runs;
  const loadMore = useCallback(() => void fetchNextPage(), [fetchNextPage]);
  const selected = loaded.filter((run) => selection[run.id]);
  const asksNothing = !question.text && question.experiment === null && question.states.length === 0;

  return (
    <section className={styles.page}>
      <div className={styles.bar}>
        <TextInput
          className={styles.filter}
          leftSection={<Icon name="search" />}
          placeholder={'A name, or metrics.loss < 0.1 and params.lr = "0.01"'}
          aria-label="Filter runs"
          value={question.text}
          onChange={(event) => question.set('filter', event.currentTarget.value)}
          error={refusal(runs.error)}
          spellCheck={false}
        />
        <Select
          className={styles.experiment}
          placeholder="All experiments"
          aria-label="Experiment"
          searchable
          clearable
          data={(experiments.data ?? []).map((one) => ({ value: String(one.id), label: one.name }))}
          value={question.experiment === null ? null : String(question.experiment)}
          onChange={(value) => question.set('experiment', value ?? '')}
        />
        <MultiSelect
          className={styles.states}
          placeholder={question.states.length === 0 ? 'All states' : ''}
          aria-label="States"
          clearable
          data={[...STATES]}
          value={question.states}
          onChange={question.setStates}
        />
        <ColumnPicker columns={columns} shown={shown.map((column) => column.id)} onChange={pick} />
      </div>
      <SelectionBar
        known={runs.data !== undefined && !runs.isError}
        selected={selected} total={loaded.length} hasMore={runs.hasNextPage} clear={() => setSelection({})} />
      {runs.error && !runs.data && refusal(runs.error) === null ? <Failure error={runs.error} /> : null}
      {runs.isPending && !runs.error ? <PageLoader /> : null}
      {runs.data && loaded.length === 0 && (asksNothing ? <NoRunsYet /> : <NothingFound />)}
      {loaded.length > 0 && (
        <RunsTable
          runs={loaded}
          columns={shown}
          selection={selection}
          onSelect={setSelection}
          order={question.order}
          onOrder={(order) => question.set('order', order ?? '')}
          hasMore={runs.hasNextPage}
          loadingMore={runs.isFetchingNextPage}
          loadMore={loadMore}
        />
      )}
    </section>
  );
}

/** What is asked, kept in the address. */
function useQuestion() {
  const [search, setSearch] = useSearchParams();
  const experiment = search.get('experiment');
  function set(name: string, value: string) {
    setSearch(
      (old) => {
        const next = new URLSearchParams(old);
        if (value === '') next.delete(name);
        else next.set(name, value);
        return next;
      },
      { replace: true },
    );
  }
  return {
    text: search.get('filter') ?? '',
    experiment: experiment === null ? null : Number(experiment),
    states: search.getAll('state'),
    order: search.get('order'),
    set,
    setStates: (states: string[]) =>
      setSearch(
        (old) => {
          const next = new URLSearchParams(old);
          next.delete('state');
          for (const state of states) next.append('state', state);
          return next;
        },
        { replace: true },
      ),
  };
}

/** All columns that were ever seen here, and those to show. */
function useColumns(runs: readonly RunView[]) {
  const [keys, setKeys] = useState<{ params: string[]; metrics: string[] }>({ params: [], metrics: [] });
  const params = mergedKeys(keys.params, runs, 'params');
  const metrics = mergedKeys(keys.metrics, runs, 'metrics');
  if (params !== keys.params || metrics !== keys.metrics) setKeys({ params, metrics });
  const [picked, setPicked] = useLocalStorage<string[] | null>({
    key: 'seafloor.runs.columns',
    defaultValue: null,
  });
  const columns = useMemo(() => columnsOf(keys), [keys]);
  const shown = useMemo(() => {
    const wanted = picked ?? usualColumns(columns);
    const byId = new Map(columns.map((column) => [column.id, column]));
    return wanted.flatMap((id) => byId.get(id) ?? []);
  }, [columns, picked]);
  return { columns, shown, pick: setPicked };
}

/** The server's words on a filter it cannot read; null for anything else. */
function refusal(error: unknown): string | null {
  return error instanceof ApiError && error.status < 500 && error.status !== 401
    ? error.message
    : null;
}

/** A run that moves between two pages while they are fetched would be there twice. */
function unique(runs: readonly RunView[]): RunView[] {
  return [...new Map(runs.map((run) => [run.id, run])).values()];
}

interface SelectionProps {
  /** Whether the runs are what was asked for. */
  known: boolean;
  selected: RunView[];
  total: number;
  hasMore: boolean;
  clear: () => void;
}

function SelectionBar({ known, selected, total, hasMore, clear }: SelectionProps) {
  const action = useRunAction();
  const [deleting, setDeleting] = useState(false);
  const ids = selected.map((run) => run.id);
  const living = selected.filter((run) => !isFinal(run.state)).map((run) => run.id);
  function act(kind: RunAction, on: string[]) {
    action.mutate({ ids: on, action: kind }, { onSuccess: clear });
  }
  const compare = `/compare?${ids.map((id) => `run=${id}`).join('&')}`;
  return (
    <Group className={styles.selection} gap="xs">
      <Text size="sm" c="dimmed" aria-live="polite">
        {selected.length > 0
          ? `${counted(selected.length, 'run')} selected`
          : known && `${hasMore ? 'The first ' : ''}${counted(total, 'run')}`}
      </Text>
      {selected.length > 0 && (
        <>
          {ids.length >= 2 && ids.length <= COMPARED_MAX && (
            <Button component={Link} href={compare} size="compact-sm" leftSection={<Icon name="compare" />}>
              Compare
            </Button>
          )}
          {living.length > 0 && (
            <Button
              size="compact-sm"
              variant="default"
              leftSection={<Icon name="stop" size={14} />}
              loading={action.isPending}
              onClick={() => act('stop', living)}
            >
              Stop
            </Button>
          )}
          <Button
            size="compact-sm"
            variant="default"
            leftSection={<Icon name="trash" size={14} />}
            onClick={() => setDeleting(true)}
          >
            Delete
          </Button>
          <Button size="compact-sm" variant="subtle" color="gray" onClick={clear}>
            Clear
          </Button>
        </>
      )}
      {action.error && !(action.error instanceof NoAnswer) && (
        <Text size="sm" c="red" role="alert">
          {shownError(action.error)}
        </Text>
      )}
      <DeleteRuns
        runs={deleting ? selected : []}
        onClose={() => setDeleting(false)}
        onDelete={() => {
          setDeleting(false);
          act('delete', ids);
        }}
      />
    </Group>
  );
}

function NoRunsYet() {
  return (
    <Notice title="No runs yet">
      <Text c="dimmed">Start the first one in the folder of any training script:</Text>
      <Group gap="xs">
        <Code fz="md" px="sm" py={6}>
          {FIRST_COMMAND}
        </Code>
        <Copy text={FIRST_COMMAND} what="the command" />
      </Group>
      <Text c="dimmed" size="sm">
        Scripts that use <code>mlflow</code> need only <code>MLFLOW_TRACKING_URI={window.location.origin}</code>.
      </Text>
    </Notice>
  );
}

function NothingFound() {
  return (
    <Notice title="No run matches">
      <Text c="dimmed">Change the filter, the experiment or the states above.</Text>
    </Notice>
  );
}
