import { useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';

import { apiUrl, request } from '../api/client';
import { useConnection } from '../api/connection';
import { POLL_MS } from '../api/queries';
import styles from './shell.module.css';

/** Says that the server is away, asks until it is back, and then brings everything up to date. */
export function GoneBanner() {
  const { gone } = useConnection();
  const queries = useQueryClient();
  useEffect(() => {
    if (!gone) return;
    const timer = setInterval(() => {
      request(apiUrl('/server')).then(
        () => queries.invalidateQueries(),
        () => undefined, // still away, or refuses: either way the next answer says so
      );
    }, POLL_MS);
    return () => clearInterval(timer);
  }, [gone, queries]);
  if (!gone) return null;
  return (
    <div role="alert" className={styles.banner}>
      The server does not answer; retrying. Runs go on without it, and nothing they print is lost.
    </div>
  );
}
