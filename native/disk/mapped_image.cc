#include "disk/mapped_image.h"

#include <algorithm>
#include <array>
#include <utility>

#include "io/pieces.h"

namespace tsvmm {

namespace {

constexpr size_t kZeroBytes = 64 * 1024;
// Aligned for O_DIRECT.
alignas(4096) constexpr std::array<std::byte, kZeroBytes> kZeroes{};

}  // namespace

int MappedImage::read(uint64_t offset, std::span<const iovec> pieces) {
  const auto length = bytes_of(pieces);
  std::vector<iovec> part;
  for (uint64_t done = 0; done < length;) {
    const auto extent = map(offset + done, length - done, Use::kRead);
    part.clear();
    add_part(part, pieces, done, extent.length);
    if (extent.kind == Extent::Kind::kOther) {
      const auto other = read_other(offset + done, part);
      if (!other) return -other.failure().error;
      done += other.value();
      continue;
    }
    if (extent.kind == Extent::Kind::kZero) {
      clear_pieces(part, 0, extent.length);
    } else if (const int error = extent.file->read(extent.offset, part); error != 0) {
      return error;
    }
    done += extent.length;
  }
  return 0;
}

int MappedImage::write(uint64_t offset, std::span<const iovec> pieces) {
  const auto length = bytes_of(pieces);
  std::vector<iovec> part;
  for (uint64_t done = 0; done < length;) {
    const auto extent = map(offset + done, length - done, Use::kWrite);
    part.clear();
    add_part(part, pieces, done, extent.length);
    if (extent.kind == Extent::Kind::kFile) {
      if (const int error = extent.file->write(extent.offset, part); error != 0) return error;
      done += extent.length;
      continue;
    }
    const auto other = write_other(offset + done, part);
    if (!other) return -other.failure().error;
    done += other.value();
  }
  return 0;
}

int MappedImage::write_zero_bytes(uint64_t offset, uint64_t length) {
  while (length != 0) {
    const auto extent = map(offset, length, Use::kRead);
    auto bytes = extent.length;
    if (extent.kind != Extent::Kind::kZero) {
      bytes = std::min<uint64_t>(bytes, kZeroBytes);
      // SAFETY: the pieces of a write are only read.
      const iovec piece{const_cast<std::byte*>(kZeroes.data()), bytes};
      if (const int error = write(offset, {&piece, 1}); error != 0) return error;
    }
    offset += bytes;
    length -= bytes;
  }
  return 0;
}

int MappedImage::load(std::mutex& lock, TableCache& cache, const Loading& loading) {
  for (;;) {
    uint64_t start = 0;
    uint64_t generation = 0;
    {
      std::lock_guard guard(lock);
      if (loading.is_there()) return 0;
      start = loading.start();
      generation = cache.generation();
    }
    std::vector<std::byte> bytes(cache.block_bytes());
    if (const int error = loading.read(start, bytes); error != 0) return error;
    std::lock_guard guard(lock);
    // What was read may be older than what somebody has changed, written and let go meanwhile.
    if (cache.generation() != generation) continue;
    cache.insert(start, std::move(bytes));
    return 0;
  }
}

}  // namespace tsvmm
