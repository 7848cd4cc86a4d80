import 'react';

declare module 'react' {
  /** Custom properties are ordinary style properties. */
  interface CSSProperties {
    [name: `--${string}`]: string | number | undefined;
  }
}
