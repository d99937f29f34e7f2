// Guest RAM that nobody can write until it is lifted: userfaultfd in write-protect mode
// (Documentation/admin-guide/mm/userfaultfd.rst). Reads go on; who writes waits in the kernel.
#pragma once

#include <cstdint>
#include <optional>

#include "memory/image_space.h"
#include "memory/page_bitmap.h"
#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// Pages are those of image space. Any thread.
//
// Private memory that nobody ever touched has nothing to protect: it can be written at once. It is told apart by the
// page table, which says of each page whether it is protected; what was there when it was protected stays so until
// lift().
class WriteProtection {
 public:
  // Protects nothing yet; the guest may run. ENOTSUP for memory other than Mapping::is_plain() or a kernel that cannot,
  // EPERM where the host does not allow it, EBUSY where another userfaultfd is on the memory.
  static Result<WriteProtection> prepare(const ImageSpace& space);

  // Holds what is there of them. Writes that are under way when it is called may still come.
  Result<> protect(uint64_t first_page, uint64_t count) const;

  // Those of the span that protect() found and nobody has lifted.
  Result<SpanMask> held(uint64_t span) const;

  // They can be written; wakes who waits.
  Result<> lift(uint64_t first_page, uint64_t count) const;

  // For good, also where the kernel refuses lift().
  void lift_all() const;

  // Readable when somebody waits.
  int fd() const { return fd_.get(); }
  // A page that somebody waits for, nothing where there is none. Never blocks; each is told once.
  std::optional<uint64_t> awaited() const;

 private:
  WriteProtection(const ImageSpace& space, UniqueFd fd, UniqueFd pagemap)
      : space_(space), fd_(std::move(fd)), pagemap_(std::move(pagemap)) {}

  ImageSpace space_;
  UniqueFd fd_;
  UniqueFd pagemap_;
};

}  // namespace tsvmm
