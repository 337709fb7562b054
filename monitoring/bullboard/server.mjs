// Bull Board on Feedmill's queues; it reads the variables that Feedmill reads.
//
// What is removed here comes back: Feedmill's record is in MongoDB, and it adds again what is missing
// in Redis. To remove an item for good use Feedmill itself: /admin/queues, or DELETE /queues/….
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import { Queue } from 'bullmq';
import express from 'express';
import { Redis } from 'ioredis';

const env = (name, otherwise) => process.env[name] || otherwise;
const items = env('BULL_QUEUE_NAME', 'job_import_queue');
const descriptions = {
  [items]: 'Items of most imports',
  [`${items}_heavy`]: 'Items of large imports and heavy feeds',
  feed_fetch_queue: 'Feeds to fetch',
  [`${items}_dlq`]: 'Dead letters; replay them with Feedmill, not with retry',
};

const prefix = env('QUEUE_PREFIX', 'bull');
const connection = new Redis(env('REDIS_URL', 'redis://127.0.0.1:6379'));
connection.on('error', (error) => console.error(`Redis: ${error.message}`));
const adapters = new Map();
const adapterOf = (name) => {
  if (!adapters.has(name)) {
    const queue = new Queue(name, { connection, prefix });
    queue.on('error', () => {}); // said above, once for all of them
    const description = descriptions[name] ?? 'A queue of a program';
    adapters.set(name, new BullMQAdapter(queue, { description }));
  }
  return adapters.get(name);
};

let names = Object.keys(descriptions);
const board = new ExpressAdapter();
const { replaceQueues } = createBullBoard({
  queues: names.map(adapterOf),
  serverAdapter: board,
  options: { uiConfig: { boardTitle: 'Feedmill: removed items come back' } },
});

// Workers write down which queues of programs they work. A name that BullMQ refuses is left out.
const showKnownQueues = async () => {
  const own = await connection.hkeys(`${prefix}:own:queues`);
  const known = new Set([
    ...Object.keys(descriptions),
    ...own.filter((name) => name && !name.includes(':')).sort(),
  ]);
  if ([...known].join() !== names.join()) {
    names = [...known];
    replaceQueues(names.map(adapterOf));
  }
};

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);
const app = express().disable('x-powered-by');
// There is no password: a page of another site must not press a button here, whatever name it gave
// this machine's address.
app.use((request, response, next) => {
  const site = request.get('sec-fetch-site');
  const isOwn = site === undefined || site === 'same-origin' || site === 'none';
  if (isOwn && LOOPBACK.has(request.hostname)) next();
  else response.status(403).send('Open Bull Board as http://127.0.0.1:3000/\n');
});
app.use(async (_request, _response, next) => {
  // Without Redis the board says so itself.
  await showKnownQueues().catch(() => {});
  next();
});
app.use(board.getRouter());

const server = app.listen(Number(env('PORT', '3000')), env('HOST', '127.0.0.1'), () =>
  console.log(`Bull Board at http://127.0.0.1:${server.address().port}/`),
);
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
