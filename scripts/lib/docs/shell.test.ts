import test from 'ava'
import { commandsOf } from './shell.ts'

test('lines, words, and what joins them', t => {
  const text = `# what this is
tsvmm --kernel vmlinux --cmdline 'console=ttyS0 rw' \\
  --disk path=a.img path=b.img   # two of them
A=1 B=2 sudo tsvmm ping && curl -s http://localhost | jq . >out.txt &
there$ tsvmm receive-migration tcp:0.0.0.0:4711
echo "$HOME" *.img
`
  t.deepEqual(commandsOf(text), [
    ['tsvmm', '--kernel', 'vmlinux', '--cmdline', 'console=ttyS0 rw', '--disk', 'path=a.img', 'path=b.img'],
    ['sudo', 'tsvmm', 'ping'],
    ['curl', '-s', 'http://localhost'],
    ['jq', '.'],
    ['tsvmm', 'receive-migration', 'tcp:0.0.0.0:4711'],
    ['echo', '$HOME', '*.img'],
  ])
})
