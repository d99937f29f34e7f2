// The log of a VHDX file (§2.3): changes of its tables, which are there as a whole or not at all.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "disk/image_error.h"
#include "disk/image_file.h"
#include "disk/table_cache.h"
#include "disk/vhdx/layout.h"

namespace tsvmm::vhdx {

// What the log of a file says that may not be in place yet. Reading it blocks.
class LogReplay {
 public:
  // An error where it can be no log.
  static ImageResult<LogReplay> read(const ImageFile& file, const Header& header);

  bool is_empty() const { return entries_.empty(); }
  // Puts everything in its place, on stable storage. Blocks.
  ImageResult<> carry_out(ImageFile& file) const;

 private:
  struct Entry {
    uint64_t length;  // bytes
    uint64_t tail;
    uint64_t sequence;
    uint64_t flushed_file_offset;
    uint64_t last_file_offset;
    std::vector<TableCache::Copy> data;
    std::vector<std::pair<uint64_t, uint64_t>> zeroes;  // offsets and lengths
  };

  explicit LogReplay(const Header& header) : header_(header) {}

  std::optional<Entry> parse(std::span<const std::byte> log, uint64_t start, uint64_t& budget) const;
  static bool parse_descriptors(std::span<const std::byte> bytes, Entry& entry);
  void choose(const std::map<uint64_t, Entry>& all);
  ImageResult<> check(const Entry& entry, uint64_t file_size) const;
  static ImageResult<> apply(ImageFile& file, const Entry& entry);

  Header header_;
  std::vector<Entry> entries_;  // in the order in which they were made
};

// One thread at a time. Everything blocks and returns 0 or -errno.
class Log {
 public:
  Log(ImageFile& file, const Header& header) : file_(file), header_(header) {}

  // Changes of blocks of 4 KiB: they are in the log, and then in their places, as a whole. What they refer to must be
  // on stable storage; they may not be when this returns.
  int write(std::span<const TableCache::Copy> changes);
  // All of them are in their places, on stable storage: others find no log.
  int retire();

 private:
  int write_entry(std::span<const TableCache::Copy> changes);

  ImageFile& file_;
  Header header_;
  uint64_t next_ = 0;      // where in the log the next entry begins
  uint64_t sequence_ = 0;  // of the last one
};

}  // namespace tsvmm::vhdx
