import { Title } from '@mantine/core';
import type { ReactNode } from 'react';

import styles from './card.module.css';

interface Props {
  title: string;
  /** Right of the title. */
  aside?: ReactNode;
  children: ReactNode;
}

/** A titled box. */
export function Card({ title, aside, children }: Props) {
  return (
    <section className={styles.card} aria-label={title}>
      <div className={styles.head}>
        <Title order={2} size="h6">
          {title}
        </Title>
        {aside}
      </div>
      {children}
    </section>
  );
}

/** Names and values, one pair a line. Pairs without a value are left out. */
export function Facts({ items }: { items: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className={styles.facts}>
      {items
        .filter(([, value]) => value !== null && value !== undefined && value !== '')
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
