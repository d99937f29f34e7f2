// Buffers in several pieces, as guests offer them and system calls take them.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <vector>

namespace tsvmm {

size_t bytes_of(std::span<const iovec> pieces);
// Copies from or to pieces, from `offset` bytes on; returns how many bytes there were, at most `length`.
size_t copy_from_pieces(std::span<const iovec> pieces, size_t offset, void* target, size_t length);
size_t copy_to_pieces(std::span<const iovec> pieces, size_t offset, const void* source, size_t length);
// As copy_to_pieces(), of zeroes.
size_t clear_pieces(std::span<const iovec> pieces, size_t offset, size_t length);
// Adds the pieces of a part of them: `length` bytes from `offset` on, fewer where there are not as many.
void add_part(std::vector<iovec>& part, std::span<const iovec> pieces, size_t offset, size_t length);

}  // namespace tsvmm
