// Every public method of npm's nacos 2.6, over HTTP v1: prints one line of JSON `[step, seen]` for each.
// Usage: node npm_session.cjs MODULES SERVERS SERVERS_OF_THE_SECOND FOLDER
'use strict';

const path = require('path');

const [modules, first, second, folder] = process.argv.slice(2);
const { NacosNamingClient, NacosConfigClient } = require(path.join(modules, 'nacos'));

const WITHIN_MS = 60000;
const GROUP = 'npm';
const quiet = { info() {}, warn() {}, debug() {}, error(...words) { console.error(...words); } };

async function until(look) {
  const deadline = Date.now() + WITHIN_MS;
  for (;;) {
    const seen = await look();
    if (seen || Date.now() > deadline) return seen;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
}

const addresses = hosts => hosts.map(each => `${each.ip}:${each.port}`).sort();

function configClient(servers, number) {
  return new NacosConfigClient({ serverAddr: servers, requestTimeout: 10000, cacheDir: `${folder}/${number}` });
}

async function configuration(show) {
  const one = configClient(first, 1);
  const two = configClient(second, 2);
  const get = name => two.getConfig(name, GROUP);
  await show('publish', async () => [
    await one.publishSingle('a.json', GROUP, '{"a":"你好 &=+%"}', { type: 'json' }),
    await until(() => get('a.json')),
  ]);
  await show('missing', async () => (await get('never')) ?? null);
  await show('configs', async () => typeof await one.getConfigs());
  await show('units', async () => [typeof await one.getCurrentUnit(), Array.isArray(await one.getAllUnits())]);
  await show('listen', async () => {
    const heard = [];
    const listener = content => heard.push(content);
    two.subscribe({ dataId: 'heard', group: GROUP }, listener);
    await one.publishSingle('heard', GROUP, '1');
    const once = await until(() => heard.includes('1'));
    await one.publishSingle('heard', GROUP, '2');
    const twice = await until(() => heard.includes('2'));
    two.unSubscribe({ dataId: 'heard', group: GROUP }, listener);
    return [once, twice];
  });
  await show('to all units', async () => [
    await one.publishToAllUnit('units', GROUP, 'u'),
    await until(() => get('units')),
    await one.removeToAllUnit('units', GROUP),
    (await until(async () => !(await get('units')))),
  ]);
  await show('remove', async () => [await one.remove('a.json', GROUP), await until(async () => !(await get('a.json')))]);
  one.close();
  two.close();
}

async function naming(show) {
  const made = servers => new NacosNamingClient({ logger: quiet, serverList: servers.split(','), namespace: 'public' });
  const one = made(first);
  const two = made(second);
  await one.ready();
  await two.ready();
  const look = name => two.getAllInstances(name, GROUP, '', false);
  const there = (name, ...wanted) => until(async () => { // each request goes to any node: all of them have it at some time
    const seen = addresses(await look(name));
    return seen.join() === wanted.join() && seen;
  });
  await show('status', () => one.getServerStatus());
  await show('register', async () => {
    const instance = { ip: '10.1.0.1', port: 80, clusterName: 'c1', weight: 2, metadata: { zone: 'a' } };
    await one.registerInstance('plain', instance, GROUP);
    const [host] = await until(async () => {
      const hosts = await look('plain');
      return hosts.length && hosts;
    });
    return [host.instanceId, host.weight, host.metadata, host.healthy, host.clusterName];
  });
  await show('select', async () => [
    await until(async () => {
      const seen = addresses(await two.selectInstances('plain', GROUP, 'c1', true, false));
      return seen.length && seen;
    }),
    addresses(await two.selectInstances('plain', GROUP, 'c1', false, false)),
  ]);
  await show('subscribe', async () => {
    const heard = [];
    const listener = hosts => heard.push(addresses(hosts).join());
    two.subscribe({ serviceName: 'followed', groupName: GROUP }, listener);
    await one.registerInstance('followed', { ip: '10.1.0.2', port: 81 }, GROUP);
    const once = await until(() => heard.includes('10.1.0.2:81'));
    await one.registerInstance('followed', { ip: '10.1.0.3', port: 81 }, GROUP);
    const twice = await until(() => heard.includes('10.1.0.2:81,10.1.0.3:81'));
    two.unSubscribe({ serviceName: 'followed', groupName: GROUP }, listener);
    return [once, twice];
  });
  await show('kept alive by beats', async () => {
    const since = Date.now();
    await until(() => Date.now() - since > 17000);
    return addresses((await look('plain')).filter(each => each.healthy));
  });
  await show('deregister', async () => { // the last of a list would stay in the client's cache, which keeps no empty list
    await one.registerInstance('plain', { ip: '10.1.0.4', port: 80, clusterName: 'c1' }, GROUP);
    await there('plain', '10.1.0.1:80', '10.1.0.4:80');
    await one.deregisterInstance('plain', { ip: '10.1.0.1', port: 80, clusterName: 'c1' }, GROUP);
    return there('plain', '10.1.0.4:80');
  });
  await one.close();
  await two.close();
}

async function main() {
  const show = async (name, step) => console.log(JSON.stringify([name, await step()]));
  await configuration(show);
  await naming(show);
  process.exit(0);
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
