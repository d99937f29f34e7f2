#include "napi/disk_image_binding.h"

#include <utility>

#include "disk/image_error.h"
#include "disk/qcow2/image.h"
#include "disk/raw_image.h"
#include "disk/vhdx/image.h"
#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

namespace {

void throw_refusal(Napi::Env env, const ImageError& error) {
  Napi::Error::New(env, error.reason).ThrowAsJavaScriptException();
}

}  // namespace

std::optional<DiskOptions> read_disk_options(Napi::Object object) {
  const auto env = object.Env();
  const auto size = read_uint_property(object, "sizeBytes", 0);
  if (!size) return {};
  const auto alignment = read_uint(object.Get("alignmentBytes"), "alignmentBytes", kMaximumDiskAlignment);
  if (!alignment) return {};
  if (*alignment == 0 || (*alignment & (*alignment - 1)) != 0) {
    Napi::RangeError::New(env, "alignmentBytes must be a power of two").ThrowAsJavaScriptException();
    return {};
  }
  return DiskOptions{.size = *size,
                     .read_only = read_flag_property(object, "readOnly", false),
                     .alignment = static_cast<uint32_t>(*alignment),
                     .sparse = read_flag_property(object, "sparse", true)};
}

std::shared_ptr<DiskImage> read_disk_image(Napi::Value value, const char* name) {
  auto* binding = unwrap<DiskImageBinding>(value, addon_data(value.Env()).disk_image, name);
  if (binding == nullptr) return nullptr;
  if (!binding->image()) throw_closed(value.Env(), name);
  return binding->image();
}

void DiskImageBinding::define(Napi::Env env, Napi::Object exports) {
  const auto constructor = DefineClass(env, "DiskImage",
                                       {InstanceAccessor<&DiskImageBinding::size>("sizeBytes"),
                                        InstanceAccessor<&DiskImageBinding::logical_block>("logicalBlockBytes"),
                                        InstanceAccessor<&DiskImageBinding::backing>("backing"),
                                        InstanceMethod<&DiskImageBinding::set_backing>("setBacking"),
                                        InstanceMethod<&DiskImageBinding::close>("close")});
  addon_data(env).disk_image = Napi::Persistent(constructor);
  exports.Set("DiskImage", constructor);
}

DiskImageBinding::DiskImageBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (info[0].IsObject()) {
    open(info[0].As<Napi::Object>());
  } else {
    Napi::TypeError::New(info.Env(), "options must be an object").ThrowAsJavaScriptException();
  }
}

void DiskImageBinding::open(Napi::Object object) {
  const auto env = object.Env();
  const auto format = read_string(object.Get("format"), "format");
  if (!format) return;
  const auto fd = read_uint(object.Get("fd"), "fd", INT32_MAX);
  if (!fd) return;
  const auto options = read_disk_options(object);
  if (!options) return;
  if (*format == "raw") return open_raw(env, static_cast<int>(*fd), *options);
  if (*format == "qcow2") return open_qcow2(env, static_cast<int>(*fd), *options);
  if (*format == "vhdx") return open_vhdx(env, static_cast<int>(*fd), *options);
  Napi::RangeError::New(env, "format must be raw, qcow2 or vhdx").ThrowAsJavaScriptException();
}

void DiskImageBinding::open_raw(Napi::Env env, int fd, const DiskOptions& options) {
  if (!options.read_only) {
    return Napi::RangeError::New(env, "a raw image is for others to stand on, read-only").ThrowAsJavaScriptException();
  }
  auto file = DiskAccess::create(fd, options);
  if (!file) return throw_failure(env, file.failure());
  image_ = std::make_shared<RawImage>(std::move(file).value());
}

void DiskImageBinding::open_qcow2(Napi::Env env, int fd, const DiskOptions& options) {
  auto opened = qcow2::Image::open(fd, options);
  if (!opened) return throw_refusal(env, opened.failure());
  const auto& header = opened.value()->header();
  backing_file_ = header.backing_file;
  backing_format_ = header.backing_format;
  image_ = std::move(opened).value();
}

void DiskImageBinding::open_vhdx(Napi::Env env, int fd, const DiskOptions& options) {
  auto opened = vhdx::Image::open(fd, options);
  if (!opened) return throw_refusal(env, opened.failure());
  logical_block_ = opened.value()->logical_sector();
  image_ = std::move(opened).value();
}

Napi::Value DiskImageBinding::logical_block(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), logical_block_);
}

Napi::Value DiskImageBinding::size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), image_ ? static_cast<double>(image_->size()) : 0);
}

// The names are bytes of the image, which need not be UTF-8.
Napi::Value DiskImageBinding::backing(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (backing_file_.empty()) return env.Undefined();
  const auto copy = [&](const std::string& text) { return Napi::Buffer<char>::Copy(env, text.data(), text.size()); };
  auto object = Napi::Object::New(env);
  object.Set("path", copy(backing_file_));
  object.Set("format", copy(backing_format_));
  return object;
}

void DiskImageBinding::set_backing(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!image_) return throw_closed(env, "DiskImage");
  // The type of what was opened is known by its having a backing file.
  if (backing_file_.empty()) return Napi::Error::New(env, "the image has no backing file").ThrowAsJavaScriptException();
  auto backing = read_disk_image(info[0], "backing");
  if (backing) static_cast<qcow2::Image&>(*image_).set_backing(std::move(backing));
}

void DiskImageBinding::close(const Napi::CallbackInfo&) { image_.reset(); }

}  // namespace tsvmm
