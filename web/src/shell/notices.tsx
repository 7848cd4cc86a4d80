import { Alert, Anchor, Center, Loader, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';
import { Link } from 'wouter';

import { ApiError, NoAnswer, shownError } from '../api/client';
import styles from './shell.module.css';

export function PageLoader() {
  return (
    <Center flex={1} p="xl" role="status" aria-label="Loading">
      <Loader type="dots" />
    </Center>
  );
}

export function NotHere() {
  return (
    <Notice title="There is no such page">
      <Text c="dimmed">
        Go to the{' '}
        <Anchor component={Link} href="/runs">
          runs
        </Anchor>
        .
      </Text>
    </Notice>
  );
}

export function Notice({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={styles.notice}>
      <Title order={2} size="h3">
        {title}
      </Title>
      {children}
    </div>
  );
}

/**
 * An error in place of what could not be shown. That the server is away is told by the banner, and
 * that it wants a token by the prompt.
 */
export function Failure({ error }: { error: unknown }) {
  if (error instanceof NoAnswer || (error instanceof ApiError && error.status === 401)) return <PageLoader />;
  const id = error instanceof ApiError ? error.requestId : undefined;
  return (
    <Alert color="red" m="md" role="alert">
      {shownError(error)}
      {id && error instanceof ApiError && error.status >= 500 && (
        <Text size="xs" c="dimmed" mt={4}>
          Request {id}
        </Text>
      )}
    </Alert>
  );
}
