import { closeSync, constants, ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import { layOutDisk, type PartitionRequest, type PartitionType, partitionTypes } from './gpt.ts'

const chunkBytes = 1024 * 1024

export interface PartitionFile {
  readonly number: number
  readonly type: PartitionType
  readonly name: string
  /** The file system that the partition has. */
  readonly file: string
}

/** `15,uefi,ESP,esp.img`: number, type, name and file of a partition. Throws naming what is wrong. */
export function parsePartition(text: string): PartitionFile {
  const [number = '', type = '', name = '', ...rest] = text.split(',')
  const known = Object.keys(partitionTypes).find((each): each is PartitionType => each === type)
  const file = rest.join(',')
  if (!/^\d+$/.test(number) || name === '' || file === '') throw new Error(`${text}: not NUMBER,TYPE,NAME,FILE`)
  if (known === undefined) throw new Error(`${text}: types are ${Object.keys(partitionTypes).join(', ')}`)
  return { number: Number(number), type: known, name, file }
}

/** Makes a disk with these partitions in this order. What is zero in them is a hole in the image. */
export function writeDiskImage(path: string, partitions: readonly PartitionFile[]): void {
  const requests: PartitionRequest[] = partitions.map(({ number, type, name, file }) => {
    return { number, type, name, sizeBytes: statSync(file).size }
  })
  const { sizeBytes, offsets, head, tail } = layOutDisk(requests)
  const { O_CREAT, O_TRUNC, O_RDWR } = constants
  const image = openSync(path, O_CREAT | O_TRUNC | O_RDWR, 0o644)
  try {
    ftruncateSync(image, sizeBytes)
    writeSync(image, head, 0, head.length, 0)
    for (const [index, { file }] of partitions.entries()) copySparsely(file, image, offsets[index] ?? 0)
    writeSync(image, tail, 0, tail.length, sizeBytes - tail.length)
  } finally {
    closeSync(image)
  }
}

function copySparsely(file: string, image: number, offset: number): void {
  const source = openSync(file, constants.O_RDONLY)
  try {
    const chunk = Buffer.alloc(chunkBytes)
    const zeroes = Buffer.alloc(chunkBytes)
    for (let at = 0; ; ) {
      const bytes = readSync(source, chunk, 0, chunkBytes, at)
      if (bytes === 0) return
      if (!chunk.subarray(0, bytes).equals(zeroes.subarray(0, bytes))) writeSync(image, chunk, 0, bytes, offset + at)
      at += bytes
    }
  } finally {
    closeSync(source)
  }
}
