import test from 'ava'
import { remoteCommands } from '../../src/cli/commands.ts'
import { keyLines, machineFlags, programFlags } from '../../src/cli/flags.ts'
import { localCommands } from '../../src/cli/local-commands.ts'
import { manualPage } from './manual.ts'

const page = manualPage('1.2.3')
const shown = page.replaceAll('\\-', '-')

test('the manual page tells of every flag, key and command', t => {
  for (const { flag, keys } of [...machineFlags, ...programFlags]) {
    t.true(shown.includes(`.B ${flag}\n`), flag)
    for (const { form } of keyLines(keys ?? {})) t.true(shown.includes(`.B ${form}\n`), form)
  }
  for (const { name } of [...remoteCommands, ...localCommands]) t.regex(shown, new RegExp(`^\\.B ${name}( |$)`, 'm'))
  for (const other of ['--verbose', '--version', '--help', 'snapshot merge', 'completion'])
    t.true(shown.includes(other), other)
  t.false(shown.includes('--watchdog'), 'not supported yet')
})

test('its lines are requests of man(7), or text that is not taken for one', t => {
  const requests = /^\.(TH|SH|SS|PP|TP|B|RS|RE|nf|fi|br)( |$)/
  for (const line of page.trimEnd().split('\n')) {
    t.true(line.startsWith('.') ? requests.test(line) : line !== '' && !line.startsWith("'"), line)
    t.notRegex(line, /(?<!\\)-/, line)
  }
})
