// Node's half of test_mixed_workers.py: works a queue until it is killed. Every tenth job fails once.
import { Worker } from 'bullmq';

const [, , host, port, name] = process.argv;
const connection = { host, port: Number(port), maxRetriesPerRequest: null };

const work = async (job) => {
  await new Promise((resolve) => setTimeout(resolve, 20));
  if (job.data % 10 === 0 && job.attemptsMade === 0) throw new Error('the first time');
  return { worked: job.data, by: 'node' };
};

const worker = new Worker(name, work, {
  connection,
  concurrency: 10,
  lockDuration: 1000,
  stalledInterval: 200,
  maxStalledCount: 1_000_000,
});
// A lock that ran out while the machine was busy is reported, too: another worker has the job then.
worker.on('error', () => {});
