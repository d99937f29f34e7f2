#include "virtio/chain.h"

#include <algorithm>
#include <cstring>

namespace tsvmm {

namespace {

template <typename Copy>
size_t walk_pieces(std::span<const iovec> pieces, size_t offset, size_t length, Copy&& copy) {
  size_t done = 0;
  for (const auto& piece : pieces) {
    if (done == length) break;
    if (offset >= piece.iov_len) {
      offset -= piece.iov_len;
      continue;
    }
    const auto bytes = std::min(piece.iov_len - offset, length - done);
    copy(static_cast<std::byte*>(piece.iov_base) + offset, done, bytes);
    done += bytes;
    offset = 0;
  }
  return done;
}

}  // namespace

void Chain::clear(uint16_t new_head) {
  head = new_head;
  readable_pieces = 0;
  readable_bytes = 0;
  writable_bytes = 0;
  pieces.clear();
  ranges.clear();
}

size_t copy_from_pieces(std::span<const iovec> pieces, size_t offset, void* target, size_t length) {
  auto* bytes = static_cast<std::byte*>(target);
  return walk_pieces(pieces, offset, length, [&](const std::byte* piece, size_t done, size_t count) {
    std::memcpy(bytes + done, piece, count);
  });
}

size_t copy_to_pieces(std::span<const iovec> pieces, size_t offset, const void* source, size_t length) {
  const auto* bytes = static_cast<const std::byte*>(source);
  return walk_pieces(pieces, offset, length,
                     [&](std::byte* piece, size_t done, size_t count) { std::memcpy(piece, bytes + done, count); });
}

}  // namespace tsvmm
