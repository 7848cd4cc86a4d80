/**
 * Addresses that the mlflow client prints ("View run … at …/#/experiments/1/runs/…"), so that a
 * click on one in a log leads to the run.
 */
export function pageOf(hash: string): string {
  const [, experiment, run] = /^#\/experiments\/(\d+)(?:\/runs\/([0-9a-f]{32}))?/.exec(hash) ?? [];
  if (run !== undefined) return `/runs/${run}`;
  return experiment === undefined ? '/runs' : `/runs?experiment=${experiment}`;
}
