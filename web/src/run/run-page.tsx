import { Tabs } from '@mantine/core';
import { useLocation } from 'wouter';

import { useRun } from '../api/queries';
import type { RunView } from '../api/types';
import { ArtifactsTab } from '../artifacts/artifacts-tab';
import { LogsTab } from '../logs/logs-tab';
import { Failure, NotHere, PageLoader } from '../shell/notices';
import { MediaTab } from '../media/media-tab';
import { useTitle } from '../shell/title';
import { ChartsTab } from './charts-tab';
import { OverviewTab } from './overview-tab';
import { RunHeader } from './run-header';
import styles from './run.module.css';

const TABS = [
  ['overview', 'Overview', OverviewTab],
  ['charts', 'Charts', ChartsTab],
  ['media', 'Media', MediaTab],
  ['logs', 'Logs', LogsTab],
  ['artifacts', 'Artifacts', ArtifactsTab],
] as const;

/** Everything about one run. */
export default function RunPage({ id, tab }: { id: string; tab: string }) {
  const { data: run, error } = useRun(id);
  const [, navigate] = useLocation();
  const chosen = TABS.find(([name]) => name === tab);
  useTitle(chosen?.[1], run?.name);
  if (chosen === undefined) return <NotHere />;
  if (!run) return error ? <Failure error={error} /> : <PageLoader />;
  return (
    <article className={styles.page}>
      <RunHeader run={run} />
      <Tabs
        className={styles.tabs}
        value={tab}
        onChange={(name) => name && navigate(name === 'overview' ? `/runs/${id}` : `/runs/${id}/${name}`)}
        keepMounted={false}
        activateTabWithKeyboard={false}
      >
        <Tabs.List px="md">
          {TABS.map(([name, label]) => (
            <Tabs.Tab key={name} value={name}>
              {label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {TABS.map(([name, , Tab]) => (
          <Tabs.Panel key={name} value={name} className={styles.panel}>
            <TabBody tab={Tab} run={run} />
          </Tabs.Panel>
        ))}
      </Tabs>
    </article>
  );
}

function TabBody({ tab: Tab, run }: { tab: (props: { run: RunView }) => React.ReactNode; run: RunView }) {
  return <Tab run={run} />;
}
