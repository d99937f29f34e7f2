#include "disk/qcow2/decompress.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>

namespace tsvmm::qcow2 {

namespace {

// Raw deflate. QEMU's encoder uses a window of 4 KiB, others may use all of the 32 KiB there can be.
constexpr int kRawDeflate = -15;

// What a decoder allocates and sets up takes longer than many a cluster: each thread keeps its own.
class Inflater {
 public:
  Inflater() : is_ready_(inflateInit2(&stream_, kRawDeflate) == Z_OK) {}
  ~Inflater() {
    if (is_ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  bool run(std::span<const std::byte> data, std::span<std::byte> cluster) {
    if (!is_ready_ || inflateReset(&stream_) != Z_OK) return false;
    // SAFETY: zlib only reads its input.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(data.data()));
    stream_.avail_in = static_cast<uInt>(data.size());
    stream_.next_out = reinterpret_cast<Bytef*>(cluster.data());
    stream_.avail_out = static_cast<uInt>(cluster.size());
    const int result = inflate(&stream_, Z_FINISH);
    // A stream that goes on when the cluster is full: old writers did not end theirs.
    return (result == Z_STREAM_END || result == Z_BUF_ERROR) && stream_.avail_out == 0;
  }

 private:
  z_stream stream_{};
  bool is_ready_;
};

bool inflate_cluster(std::span<const std::byte> data, std::span<std::byte> cluster) {
  thread_local Inflater inflater;
  return inflater.run(data, cluster);
}

bool decompress_zstd(std::span<const std::byte> data, std::span<std::byte> cluster) {
  thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  if (!context) return false;
  ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only);
  ZSTD_inBuffer input{data.data(), data.size(), 0};
  ZSTD_outBuffer output{cluster.data(), cluster.size(), 0};
  while (output.pos < output.size) {
    const auto before = input.pos + output.pos;
    if (ZSTD_isError(ZSTD_decompressStream(context.get(), &output, &input)) != 0) return false;
    if (input.pos + output.pos == before) return false;
  }
  return true;
}

}  // namespace

bool decompress(Compression compression, std::span<const std::byte> data, std::span<std::byte> cluster) {
  return compression == Compression::kZstd ? decompress_zstd(data, cluster) : inflate_cluster(data, cluster);
}

}  // namespace tsvmm::qcow2
