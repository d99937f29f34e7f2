// A userfaultfd (Documentation/admin-guide/mm/userfaultfd.rst): hears of the pages that are missing, and provides them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

struct UserfaultEvent {
  enum class Kind { kFault, kRemove };
  Kind kind;
  uint64_t address;  // of the page that is missing, or where what is removed begins
  uint64_t length;   // of what is removed
  bool is_write;
  int thread;  // the one that waits
};

// What became of a request to make pages present.
enum class Provided {
  kAll,
  kSome,     // and then one was there already, or the address space changed
  kPresent,  // the first one is there already
  kRetry,    // an event must be read first
  kGone,     // nothing is registered there any more
  kFailed,   // errno says why
};

// Any thread; event() gives each event to one of its callers.
class Userfault {
 public:
  // Faults of the kernel are taken too, as KVM's are that. EPERM where the host does not allow it.
  static Result<Userfault> open();

  int get() const { return fd_.get(); }
  bool is_open() const { return fd_.is_open(); }
  void close() { fd_.reset(); }

  Result<> watch(std::span<std::byte> memory) const;
  // Wakes whoever waits; what is missing is the kernel's again: zeroes.
  void unwatch(std::span<std::byte> memory) const;

  // Nothing where none is there; never blocks. Who removes memory waits until its event is read.
  std::optional<UserfaultEvent> event() const;

  // Wake who waits for them. `done`: bytes that are present now because of this call.
  Provided copy(std::byte* to, std::span<const std::byte> from, uint64_t& done) const;
  Provided zero(std::span<std::byte> memory, uint64_t& done) const;
  void wake(std::span<std::byte> memory) const;

 private:
  explicit Userfault(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace tsvmm
