import { lazy, Suspense } from 'react';
import { Redirect, Route, Switch } from 'wouter';

import { RunsPage } from './runs/runs-page';
import { pageOf } from './shell/old-addresses';
import { Shell } from './shell/shell';
import { NotHere, PageLoader } from './shell/notices';

const RunPage = lazy(() => import('./run/run-page'));
const ComparePage = lazy(() => import('./compare/compare-page'));

export function App() {
  return (
    <Shell>
      <Suspense fallback={<PageLoader />}>
        <Switch>
          <Route path="/">
            <Redirect to={pageOf(window.location.hash)} replace />
          </Route>
          <Route path="/runs">
            <RunsPage />
          </Route>
          <Route path="/runs/:id/:tab?">
            {(params) => <RunPage key={params.id} id={params.id} tab={params.tab ?? 'overview'} />}
          </Route>
          <Route path="/compare">
            <ComparePage />
          </Route>
          <Route>
            <NotHere />
          </Route>
        </Switch>
      </Suspense>
    </Shell>
  );
}
