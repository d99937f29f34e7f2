import { parsePartition, writeDiskImage } from './disk-image.ts'

/** For recipes: make-disk.ts OUT NUMBER,TYPE,NAME,FILE... */
const [out, ...partitions] = process.argv.slice(2)
if (out === undefined || partitions.length === 0) throw new Error('usage: make-disk.ts OUT NUMBER,TYPE,NAME,FILE...')
writeDiskImage(out, partitions.map(parsePartition))
