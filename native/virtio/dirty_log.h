// Where engines report the guest memory that they have written.
#pragma once

#include <cstdint>

namespace tsvmm {

class DirtyLog {
 public:
  virtual ~DirtyLog() = default;
  // Any thread, without locks: called on the path of every request.
  virtual void mark_dirty(uint64_t guest_address, uint64_t length) = 0;
};

}  // namespace tsvmm
