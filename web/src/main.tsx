import '@mantine/core/styles.css';
import 'uplot/dist/uPlot.min.css';
import './page.css';

import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { worthRetrying } from './api/queries';
import { App } from './app';
import { theme } from './theme';

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      retry: worthRetrying,
      retryDelay: 1000,
      networkMode: 'always', // the server is often this machine: "offline" says nothing of it
      staleTime: 1000,
    },
    mutations: { networkMode: 'always' },
  },
});

const root = document.getElementById('root');
if (root === null) throw new Error('index.html has no #root');
createRoot(root).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={queries}>
        <App />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
