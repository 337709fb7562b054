// BullMQ in Node: addBulk of 1,000 jobs a call, one worker with 100 empty handlers at a time.
import { Queue, Worker } from 'bullmq';
import Redis from 'ioredis';

const [url, count] = process.argv.slice(-2);
const connect = () => new Redis(url, { maxRetriesPerRequest: null });
const AT_ONCE = 1000;
const jobs = Array.from({ length: Number(count) }, (_, number) => ({
  name: 'item',
  data: { source: 'board', guid: String(number), summary: 'x'.repeat(560) },
  opts: { jobId: `board#${number}`, attempts: 3, removeOnComplete: true },
}));
const seconds = async (act) => {
  const started = process.hrtime.bigint();
  await act();
  return Number(process.hrtime.bigint() - started) / 1e9;
};

const admin = connect();
await admin.flushdb();
const queue = new Queue('bench', { connection: connect() });
const addS = await seconds(async () => {
  for (let start = 0; start < jobs.length; start += AT_ONCE) {
    await queue.addBulk(jobs.slice(start, start + AT_ONCE));
  }
});
const drainS = await seconds(async () => {
  const worker = new Worker('bench', async () => {}, { connection: connect(), concurrency: 100 });
  await new Promise((done) => {
    let left = jobs.length;
    worker.on('completed', () => --left || done());
  });
});
await admin.flushdb();
console.log(JSON.stringify({ add: jobs.length / addS, drain: jobs.length / drainS }));
process.exit(0);
