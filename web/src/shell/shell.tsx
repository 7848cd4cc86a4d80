import {
  ActionIcon,
  Anchor,
  Group,
  Text,
  Tooltip,
  useComputedColorScheme,
  useMantineColorScheme,
} from '@mantine/core';
import type { ReactNode } from 'react';
import { Link, useLocation } from 'wouter';

import { useServerInfo } from '../api/queries';
import { GoneBanner } from './gone-banner';
import { Icon } from './icons';
import styles from './shell.module.css';
import { TokenPrompt } from './token-prompt';

/** The frame around every page. */
export function Shell({ children }: { children: ReactNode }) {
  return (
    <div className={styles.shell}>
      <a className={styles.skip} href="#content">
        Skip to the content
      </a>
      <Header />
      <GoneBanner />
      <main id="content" className={styles.content} tabIndex={-1}>
        {children}
      </main>
      <TokenPrompt />
    </div>
  );
}

function Header() {
  const [location] = useLocation();
  const server = useServerInfo();
  return (
    <header className={styles.header}>
      <Link href="/runs" className={styles.brand}>
        <img src="/favicon.svg" alt="" width={26} height={26} />
        <span>Seafloor</span>
      </Link>
      <nav aria-label="Main" className={styles.nav}>
        <Link
          href="/runs"
          className={styles.link}
          aria-current={location.startsWith('/runs') ? 'page' : undefined}
        >
          Runs
        </Link>
      </nav>
      <Group ml="auto" gap="md">
        {server.data && (
          <Text size="xs" c="dimmed">
            {server.data.version}
          </Text>
        )}
        <Anchor href="/api/openapi.json" size="sm" c="dimmed" underline="hover">
          API
        </Anchor>
        <SchemeSwitch />
      </Group>
    </header>
  );
}

function SchemeSwitch() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme('light');
  const other = scheme === 'dark' ? 'light' : 'dark';
  return (
    <Tooltip label={`Switch to the ${other} theme`}>
      <ActionIcon
        variant="subtle"
        color="gray"
        aria-label={`Switch to the ${other} theme`}
        onClick={() => setColorScheme(other)}
      >
        <Icon name={scheme === 'dark' ? 'sun' : 'moon'} size={18} />
      </ActionIcon>
    </Tooltip>
  );
}
