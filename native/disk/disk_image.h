// A disk kept in a file of some format. The engine asks where sectors lie and moves them by itself; what takes more
// than that (tables that are not in memory, new clusters, compression) the image does, on a thread that may block.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "disk/disk_access.h"
#include "disk/grace_period.h"
#include "sys/result.h"

namespace tsvmm {

class DiskImage {
 public:
  enum class Use : uint8_t { kRead, kWrite };

  // What the first `length` bytes of a range are.
  struct Extent {
    enum class Kind : uint8_t {
      kFile,   // bytes of `file` from `offset` on, until `claim` goes
      kZero,   // zeroes; only of kRead
      kOther,  // for the image to read or write, all of the range
    };
    Kind kind = Kind::kOther;
    uint64_t offset = 0;
    uint64_t length = 0;
    DiskAccess* file = nullptr;
    GracePeriod::Claim claim = {};
  };

  virtual ~DiskImage() = default;
  DiskImage(const DiskImage&) = delete;
  DiskImage& operator=(const DiskImage&) = delete;

  // Any thread, all of these. `offset` and `length` are bytes of the disk, and within it.

  uint64_t size() const { return file_->size(); }
  // Its own file, with the options of the disk. Only what map() says may be done to it.
  DiskAccess& file() const { return *file_; }
  // Never waits for the host. `length` is not 0.
  virtual Extent map(uint64_t offset, uint64_t length, Use use) = 0;

  // The rest blocks and returns 0 or -errno. Pieces hold exactly what is read or written.
  virtual int read(uint64_t offset, std::span<const iovec> pieces) = 0;
  virtual int write(uint64_t offset, std::span<const iovec> pieces) = 0;
  // Advice: what is discarded may be anything afterwards, zeroes where that costs nothing.
  virtual int discard(uint64_t offset, uint64_t length) = 0;
  // `unmap`: and gives the space back.
  virtual int write_zeroes(uint64_t offset, uint64_t length, bool unmap) = 0;
  // What was written is on stable storage.
  virtual int flush() = 0;
  // The file is whole: another process may read it. Not necessarily on stable storage.
  virtual int settle() = 0;

  // What was found wrong with it while it was in use, once; empty where nothing was.
  virtual std::string take_fault() { return {}; }

 protected:
  explicit DiskImage(std::unique_ptr<DiskAccess> file) : file_(std::move(file)) {}

 private:
  const std::unique_ptr<DiskAccess> file_;
};

}  // namespace tsvmm
