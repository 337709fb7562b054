// BullMQ in Node, by kinds of jobs: addBulk of 1,000 a call, one worker with 50 empty handlers at a time.
import { FlowProducer, Queue, Worker } from 'bullmq';
import Redis from 'ioredis';

const [url, count] = process.argv.slice(-2);
const jobs = Number(count);
const connect = () => new Redis(url, { maxRetriesPerRequest: null });
const [AT_ONCE, CONCURRENCY, CHILDREN, PRIORITIES, JOBS_A_SCHEDULER, TOGETHER] =
  [1000, 50, 9, 10, 10, 100];
const GONE = { removeOnComplete: true };

const seconds = async (act) => {
  const started = process.hrtime.bigint();
  await act();
  return Number(process.hrtime.bigint() - started) / 1e9;
};

const admin = connect();
const queue = new Queue('bench', { connection: connect() });
const producer = new FlowProducer({ connection: connect() });

const addBulk = async (opts) => {
  const all = Array.from({ length: jobs }, (_, n) =>
    ({ name: 'n', data: { n }, opts: { ...GONE, ...opts(n) } }));
  for (let start = 0; start < jobs; start += AT_ONCE) {
    await queue.addBulk(all.slice(start, start + AT_ONCE));
  }
  return jobs;
};

const kinds = {
  plain: () => addBulk(() => ({})),
  priorities: () => addBulk((n) => ({ priority: (n % PRIORITIES) + 1 })),
  delayed: () => addBulk(() => ({ delay: 1 })),
  flows: async () => {
    const child = { name: 'n', queueName: 'bench', opts: GONE };
    const tree = { ...child, children: Array(CHILDREN).fill(child) };
    const flows = Math.max(Math.floor(jobs / (CHILDREN + 1)), 1);
    for (let start = 0; start < flows; start += TOGETHER) {
      await producer.addBulk(Array(Math.min(TOGETHER, flows - start)).fill(tree));
    }
    return flows * (CHILDREN + 1);
  },
  schedulers: async () => {
    const schedulers = Math.max(Math.floor(jobs / JOBS_A_SCHEDULER), 1);
    for (let start = 0; start < schedulers; start += TOGETHER) {
      const some = Array.from({ length: Math.min(TOGETHER, schedulers - start) }, (_, n) =>
        queue.upsertJobScheduler(`s${start + n}`, { every: 3_600_000 }, { name: 'n', opts: GONE }));
      await Promise.all(some);
    }
    return schedulers;
  },
};

const work = async (added) => {
  const options = { connection: connect(), concurrency: CONCURRENCY };
  const worker = new Worker('bench', async () => {}, options);
  await new Promise((done) => {
    let left = added;
    worker.on('completed', () => --left || done());
  });
  return worker;
};

const figures = {};
for (const [kind, add] of Object.entries(kinds)) {
  await admin.flushdb();
  let added = 0;
  const addS = await seconds(async () => {
    added = await add();
  });
  figures[`${kind}.add`] = added / addS;
  let worker;
  const workS = await seconds(async () => {
    worker = await work(added);
  });
  figures[`${kind}.work`] = added / workS;
  await worker.close();
}
await admin.flushdb();
console.log(JSON.stringify(figures));
process.exit(0);
