#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>

#include "disk/disk_image.h"

namespace tsvmm {

class DiskImageBinding : public Napi::ObjectWrap<DiskImageBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit DiskImageBinding(const Napi::CallbackInfo& info);

  // nullptr once it is closed.
  const std::shared_ptr<DiskImage>& image() const { return image_; }

 private:
  void open(Napi::Object object);
  void open_raw(Napi::Env env, int fd, const DiskOptions& options);
  void open_qcow2(Napi::Env env, int fd, const DiskOptions& options);
  void open_vhdx(Napi::Env env, int fd, const DiskOptions& options);
  Napi::Value logical_block(const Napi::CallbackInfo& info);
  Napi::Value size(const Napi::CallbackInfo& info);
  Napi::Value backing(const Napi::CallbackInfo& info);
  void set_backing(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<DiskImage> image_;
  uint32_t logical_block_ = 512;  // bytes
  std::string backing_file_;
  std::string backing_format_;
};

inline constexpr uint64_t kMaximumDiskAlignment = 1 << 20;

// Options that a disk takes, whatever its format.
std::optional<DiskOptions> read_disk_options(Napi::Object object);

// Throws and returns nullptr where it is none, or closed.
std::shared_ptr<DiskImage> read_disk_image(Napi::Value value, const char* name);

}  // namespace tsvmm
