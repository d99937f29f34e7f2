// The areas of an image's file that have a purpose of their own: its tables. Nothing else may lie over them.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "disk/image_error.h"

namespace tsvmm {

// Any thread, but for add() and check(), which come first.
class FileAreas {
 public:
  struct Area {
    uint64_t offset;
    uint64_t length;
    const char* name;  // a literal, as "the L1 table"
  };

  // To be followed by check().
  void add(const Area& area) { areas_.push_back(area); }
  // Sorts; two that overlap are an error that names both.
  ImageResult<> check();
  void insert(const Area& area);
  void remove(uint64_t offset);
  // The name of what a range of the file lies over; nullptr where it lies over nothing.
  const char* find(uint64_t offset, uint64_t length) const;

 private:
  mutable std::mutex mutex_;
  std::vector<Area> areas_;  // ascending
};

}  // namespace tsvmm
