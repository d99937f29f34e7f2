import test from 'ava'
import { Log, type LogLevel } from './log.ts'

function linesAt(level: LogLevel, speak: (log: Log) => void): string[] {
  const lines: string[] = []
  speak(new Log({ level, write: line => lines.push(line), now: () => 1234.5678 }))
  return lines
}

test('a line has a time in seconds and a level', t => {
  const lines = linesAt('info', log => log.info('the machine runs'))
  t.deepEqual(lines, ['tsvmm: 1.234568s: INFO: the machine runs\n'])
})

test('a level lets those before it pass, and no other', t => {
  const speak = (log: Log) => {
    log.error('e')
    log.warn('w')
    log.info('i')
    log.debug('d')
  }
  t.deepEqual(
    (['error', 'warn', 'info', 'debug'] as const).map(level => linesAt(level, speak).length),
    [1, 2, 3, 4],
  )
})

test('a message stays on its line', t => {
  t.deepEqual(
    linesAt('warn', log => log.warn('a\r\nb\nc')),
    ['tsvmm: 1.234568s: WARN: a b c\n'],
  )
})

test('one of several machines is named before what happens to it, whatever form a line has', t => {
  const lines: string[] = []
  const form = (seconds: string, level: LogLevel, message: string) => `${seconds} ${level}: ${message}`
  const log = new Log({ level: 'info', write: line => lines.push(line), now: () => 1, form })
  log.of('clone 1').warn('it runs')
  t.deepEqual(lines, ['0.001000 warn: clone 1: it runs'])
})
