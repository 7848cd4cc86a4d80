import { Button, Modal, PasswordInput, Stack, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useState, type SubmitEvent } from 'react';

import { setToken, token, useConnection } from '../api/connection';

/** Asks for the token when the server does. */
export function TokenPrompt() {
  const { tokenWanted } = useConnection();
  const queries = useQueryClient();
  const [text, setText] = useState('');
  const refused = token() !== null;

  function submit(event: SubmitEvent) {
    event.preventDefault();
    if (!text.trim()) return;
    setToken(text.trim());
    void queries.resetQueries();
  }

  return (
    <Modal
      opened={tokenWanted}
      onClose={() => undefined}
      withCloseButton={false}
      title="This server asks for a token"
      centered
    >
      <form onSubmit={submit}>
        <Stack>
          <Text size="sm" c="dimmed">
            It is the one the server was started with (setting <code>server.token</code>). It is kept
            until this tab is closed.
          </Text>
          <PasswordInput
            label="Token"
            autoComplete="current-password"
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
            error={refused && 'The last token was not accepted.'}
            data-autofocus
          />
          <Button type="submit">Continue</Button>
        </Stack>
      </form>
    </Modal>
  );
}
