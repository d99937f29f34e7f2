// A disk in a qcow2 file (QEMU, docs/interop/qcow2.rst), versions 2 and 3.
//
// What may be on stable storage before what, so that no instant finds two clusters at one place:
//   refcounts of new clusters, and what is in them
//   L2 tables that refer to these, and no more to others
//   L1 entries that refer to new L2 tables
//   refcounts of clusters that were given up, and only then another use of them
// Changed tables stay in memory until the guest flushes; write_back() keeps that order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "disk/image_error.h"
#include "disk/mapped_image.h"
#include "disk/qcow2/cluster_table.h"
#include "disk/qcow2/header.h"
#include "disk/qcow2/refcounts.h"

namespace tsvmm::qcow2 {

// Locks are taken in the order write_back_, metadata_, map_; map_ is never held while the host works.
class Image final : public MappedImage {
 public:
  // Duplicates the descriptor; the size is the header's. Blocks.
  static ImageResult<std::unique_ptr<Image>> open(int fd, DiskOptions options);
  // With its tables read and written by that.
  static ImageResult<std::unique_ptr<Image>> open(int fd, std::unique_ptr<ImageFile> file, DiskOptions options);
  ~Image() override;

  const Header& header() const { return header_; }
  // Before it is used: what it reads as where it has nothing of its own.
  void set_backing(std::shared_ptr<DiskImage> backing) { backing_ = std::move(backing); }

  Extent map(uint64_t offset, uint64_t length, Use use) override;
  int discard(uint64_t offset, uint64_t length) override;
  int write_zeroes(uint64_t offset, uint64_t length, bool unmap) override;
  int flush() override { return write_back(true); }
  int settle() override { return write_back(false); }

 private:
  // Clusters of the disk, and where they are written anew.
  struct Plan {
    uint64_t first = 0;
    uint64_t clusters = 0;  // 0: they can be written where they are by now
    uint64_t offset = 0;
    bool is_zero = false;   // there
    bool in_place = false;  // where the entry has a place already
  };
  struct Unreachable {
    uint64_t epoch;
    uint64_t offset;
  };
  using Change = std::function<std::optional<Entry>(Entry)>;

  Image(std::unique_ptr<ImageFile> tables_file, std::unique_ptr<DiskAccess> file, const Header& header);
  ImageResult<> read_tables();

  uint64_t cluster_bytes() const { return header_.cluster_bytes(); }
  bool reads_as_zero(Entry entry) const { return entry.is_zero() || (entry.is_absent() && !backing_); }
  Extent map_absent(uint64_t offset, uint64_t length);
  bool continues(Entry first, Entry entry, uint64_t distance, Use use) const;
  int load(uint64_t cluster);
  Result<uint64_t> read_other(uint64_t offset, std::span<const iovec> pieces) override;
  int read_compressed(Entry entry, uint64_t offset, std::span<const iovec> pieces);

  // image_write.cc
  Result<uint64_t> write_other(uint64_t offset, std::span<const iovec> pieces) override;
  Result<Plan> plan_write(uint64_t offset, uint64_t length);
  Result<Plan> plan_clusters(uint64_t first, uint64_t clusters);
  int fill(const Plan& plan, uint64_t offset, std::span<const iovec> pieces);
  int finish(const Plan& plan, int error);
  void wait_for_writers(std::unique_lock<std::mutex>& lock, uint64_t first, uint64_t end);
  int own_table(uint64_t cluster);
  int write_table(uint64_t old_table, uint64_t offset);
  void give_up(Entry entry);

  // image_clear.cc
  int change_clusters(uint64_t first, uint64_t end, const Change& change);
  int change_block(uint64_t first, uint64_t end, const Change& change);
  std::optional<Entry> without_data(Entry entry) const;

  // image_flush.cc
  int write_back(bool to_stable_storage);
  int write_l1(const ClusterTable::Changes& changes);
  int relieve();
  void reclaim();

  const std::unique_ptr<ImageFile> tables_file_;
  const Header header_;
  std::shared_ptr<DiskImage> backing_;
  FileAreas areas_;

  std::mutex write_back_;

  std::mutex metadata_;
  std::unique_ptr<Refcounts> refcounts_;
  std::vector<Plan> writing_;
  std::condition_variable written_;
  std::vector<uint64_t> given_up_;        // clusters that stable storage may still refer to
  std::vector<Unreachable> unreachable_;  // that requests may still be at

  std::mutex map_;
  // Changed under metadata_, too.
  std::unique_ptr<ClusterTable> table_;
  GracePeriod grace_;
};

}  // namespace tsvmm::qcow2
