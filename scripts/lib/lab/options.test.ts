import test from 'ava'
import { parseOptions, UsageError } from './options.ts'

test('everything after -- is the command, whatever it looks like', t => {
  const options = parseOptions(['--memory', '2048', '--disk', '/a', '--disk', '/b', '--', 'run', '--memory', '1', '--'])
  t.deepEqual(options.command, ['run', '--memory', '1', '--'])
  t.is(options.memoryMib, 2048)
  t.is(options.cpus, 2)
  t.deepEqual(options.disks, ['/a', '/b'])
  t.is(options.kernel, undefined)
  t.false(options.parallel)
})

const wrong: readonly (readonly [string, readonly string[]])[] = [
  ['no command', []],
  ['no command after --', ['--']],
  ['a word before --', ['word', '--', 'true']],
  ['an unknown option', ['--colour', '--', 'true']],
  ['an unknown kernel', ['--kernel', 'other', '--', 'true']],
  ['an unknown architecture', ['--arch', 'riscv64', '--', 'true']],
  ['no memory', ['--memory', '0', '--', 'true']],
  ['half a processor', ['--cpus', '0.5', '--', 'true']],
]
for (const [name, args] of wrong) {
  test(`${name} is refused`, t => {
    t.throws(() => parseOptions(args), { instanceOf: UsageError })
  })
}
