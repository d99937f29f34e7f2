import { readFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { execa } from 'execa'
import { remoteCommands } from './commands.ts'
import { keyLines, machineFlags, programFlags } from './flags.ts'
import { localCommands } from './local-commands.ts'
import { createProgram } from './program.ts'
import { versionText } from './version.ts'

const program = new URL('./tsvmm.ts', import.meta.url).pathname
const reference = new URL('../../docs/reference/cli.md', import.meta.url)

async function refuses(t: ExecutionContext, args: readonly string[], exitCode: number, message: string): Promise<void> {
  const result = await execa(process.execPath, [program, ...args], { reject: false, stdin: 'ignore' })
  t.is(result.stderr, `tsvmm: error: ${message}`)
  t.is(result.exitCode, exitCode)
  t.is(result.stdout, '')
}

test('wrong usage is one line and exit code 2', async t => {
  await refuses(t, ['--kerne', 'x'], 2, "unknown option '--kerne'; did you mean --kernel?")
  await refuses(t, ['--kernel', 'x', '--disk', 'pat=a'], 2, '--disk: unknown key pat; did you mean path?')
  await refuses(t, ['--kernel'], 2, "option '--kernel <PATH>' argument missing")
  await refuses(t, ['--kernel', 'x', '--memory', 'size=1Q'], 2, '--memory: size: 1Q is not a size like 512M')
})

test('commands and what they need', async t => {
  await refuses(t, ['--api-socket', 's', 'puase'], 2, "unknown command 'puase'; did you mean pause?")
  await refuses(
    t,
    ['--api-socket', 's', 'pause', 'now'],
    2,
    "too many arguments for 'pause'. Expected 0 arguments but got 1: now.",
  )
  await refuses(t, ['pause'], 2, 'the command pause needs --api-socket')
  await refuses(t, ['--api-socket', 's', 'create'], 2, "missing required argument 'file'")
  await refuses(t, ['--api-socket', 'fd=3', 'pause'], 2, '--api-socket: a command needs a path')
  await refuses(t, ['--api-socket', 's', '--kernel', 'k', 'boot'], 2, '--kernel: does not go with the command boot')
  await refuses(t, ['--api-socket', '/nowhere/s', 'ping'], 1, '--api-socket /nowhere/s: there is no such socket')
  await refuses(t, ['--api-socket', 's', 'create', '/nowhere'], 1, '/nowhere: no such file or directory')
})

test('flags of the server', async t => {
  await refuses(t, ['--api-socket', 'fd=1'], 2, '--api-socket: fd: 0 to 2 are the standard streams')
  await refuses(
    t,
    ['--api-socket', '/nowhere/s', '--cpus', 'boot=1'],
    1,
    '--kernel: is missing: a machine needs something to boot',
  )
  await refuses(t, ['--kernel', 'x', '--strict'], 2, '--strict: needs --api-socket: nobody else asks for anything')
  await refuses(
    t,
    ['--kernel', 'x', '--no-shutdown'],
    2,
    '--no-shutdown: needs --api-socket: nobody could end the program',
  )
  await refuses(t, ['--kernel', 'x', '--event-monitor', 'fd=3,path=a'], 2, '--event-monitor: takes path or fd')
  await refuses(
    t,
    ['--kernel', 'x', '--event-monitor', 'path=/nowhere/e'],
    1,
    '--event-monitor /nowhere/e: no such file or directory',
  )
})

test("Cloud Hypervisor's flags without machinery are refused by name", async t => {
  await refuses(t, ['--kernel', 'x', '--balloon', 'size=1G'], 2, '--balloon: is not supported yet')
  await refuses(t, ['--kernel', 'x', '--landlock'], 2, '--landlock: is not supported yet')
  await refuses(t, ['--seccomp', 'false'], 1, '--kernel: is missing: a machine needs something to boot')
})

test('a configuration that does not fit is one line and exit code 1', async t => {
  await refuses(
    t,
    ['--kernel', 'x', '--disk', 'path=a,queue_size=100'],
    1,
    '--disk: queue_size: 100 is not a power of two',
  )
})

test('the log begins with when the program did, and how long it took to load', async t => {
  const before = Date.now()
  const args = ['-v', '--kernel', 'x', '--kvm', '/nonexistent']
  const { stderr } = await execa(process.execPath, [program, ...args], { reject: false, stdin: 'ignore' })
  const [first = ''] = stderr.split('\n')
  const pattern = /^tsvmm: ([\d.]+)s: INFO: started at (\S+Z), runtime ([\d.]+) ms, modules ([\d.]+) ms$/
  const [, logged, at = '', runtime, modules] = pattern.exec(first) ?? []
  t.regex(first, pattern)
  t.true(Date.parse(at) >= before && Date.parse(at) <= Date.now())
  t.true(Number(runtime) > 0 && Number(runtime) <= Number(modules))
  t.true(Number(modules) <= Number(logged) * 1000)
})

test('several disks follow one flag, and the flag may be repeated', t => {
  const flags = createProgram().parse(['--disk', 'path=a', 'path=b', '--kernel', 'k', '--disk', 'path=c'], {
    from: 'user',
  })
  t.deepEqual(flags.opts()['disk'], ['path=a', 'path=b', 'path=c'])
})

test('the version has its own line first, or the one that clients of Cloud Hypervisor parse', t => {
  t.regex(versionText('/usr/bin/tsvmm'), /^tsvmm v\S+$/)
  t.regex(versionText('/usr/bin/cloud-hypervisor'), /^cloud-hypervisor v53\.0\ntsvmm v\S+$/)
})

test('what is done with a snapshot needs no machine', async t => {
  const missing = 'snapshot /nowhere/manifest.json: no such file or directory'
  await refuses(t, ['snapshot', 'inspect', '/nowhere', '--json'], 1, missing)
})

test('help and reference tell of every flag and key', t => {
  const help = createProgram().helpInformation()
  const page = readFileSync(reference, 'utf8')
  for (const { flag, keys } of [...machineFlags, ...programFlags]) {
    t.true(help.includes(flag), `help has no ${flag}`)
    t.true(page.includes(`\`${flag}\``), `the reference has no ${flag}`)
    for (const { form, help: line } of keyLines(keys ?? {})) {
      t.true(help.includes(form), `help has no ${form}`)
      t.true(
        page.includes(`| \`${form.replaceAll('|', '\\|')}\` | ${line.replaceAll('|', '\\|')} |`),
        `the reference has no ${flag} ${form}: ${line}`,
      )
    }
  }
  for (const { name, summary } of [...remoteCommands, ...localCommands]) {
    t.true(help.replaceAll(/\s+/g, ' ').includes(summary), `help has no ${summary}`)
    t.true(page.includes(`| \`${name}`), `the reference has no ${name}`)
  }
})
