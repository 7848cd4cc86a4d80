import { ActionIcon, CopyButton, Tooltip } from '@mantine/core';

import { Icon } from './icons';

/** A button that copies a text. `what` names it for people who hear the page. */
export function Copy({ text, what }: { text: string; what: string }) {
  return (
    <CopyButton value={text}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? 'Copied' : `Copy ${what}`}>
          <ActionIcon
            size="xs"
            variant="transparent"
            color={copied ? 'teal' : 'gray'}
            aria-label={`Copy ${what}`}
            onClick={(event) => {
              event.stopPropagation();
              copy();
            }}
          >
            <Icon name={copied ? 'check' : 'copy'} size={14} />
          </ActionIcon>
        </Tooltip>
      )}
    </CopyButton>
  );
}
