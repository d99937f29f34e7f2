#include "napi/image_writer_binding.h"

#include <optional>
#include <utility>

#include "napi/addon_data.h"
#include "napi/arguments.h"
#include "napi/memory_binding.h"
#include "napi/memory_image_binding.h"

namespace tsvmm {

namespace {

std::optional<ImageForm> read_form(Napi::Value value) {
  const auto name = read_string(value, "form");
  if (!name) return {};
  if (*name == "image") return ImageForm::kImage;
  if (*name == "zstd") return ImageForm::kZstd;
  Napi::RangeError::New(value.Env(), "form must be image or zstd").ThrowAsJavaScriptException();
  return {};
}

std::optional<int> read_level(Napi::Value value) {
  if (value.IsNumber()) return value.As<Napi::Number>().Int32Value();
  Napi::TypeError::New(value.Env(), "level must be a number").ThrowAsJavaScriptException();
  return {};
}

bool read_options(Napi::Object object, ImageWriter::Options& options) {
  const auto fd = read_uint(object.Get("fd"), "fd", INT32_MAX);
  if (!fd) return false;
  const auto form = read_form(object.Get("form"));
  if (!form) return false;
  const auto level = read_level(object.Get("level"));
  if (!level) return false;
  const auto threads = read_uint(object.Get("threads"), "threads", kMaximumImageThreads);
  if (!threads) return false;
  options = {.fd = static_cast<int>(*fd), .form = *form, .level = *level, .threads = static_cast<unsigned>(*threads)};
  if (const auto base = object.Get("base"); !base.IsUndefined()) {
    auto* image = unwrap<MemoryImageBinding>(base, addon_data(object.Env()).memory_image, "base");
    if (image == nullptr) return false;
    options.base = image->chain();
    if (!options.base) return throw_closed(object.Env(), "MemoryImage"), false;
  }
  options.base_is_shown = read_flag_property(object, "baseIsShown", false);
  return true;
}

}  // namespace

void ImageWriterBinding::define(Napi::Env env, Napi::Object exports) {
  exports.Set("MemoryImageWriter", DefineClass(env, "MemoryImageWriter",
                                               {InstanceMethod<&ImageWriterBinding::write>("write"),
                                                InstanceMethod<&ImageWriterBinding::prepare_freeze>("prepareFreeze"),
                                                InstanceMethod<&ImageWriterBinding::freeze>("freeze"),
                                                InstanceMethod<&ImageWriterBinding::progress>("progress"),
                                                InstanceMethod<&ImageWriterBinding::cancel>("cancel"),
                                                InstanceMethod<&ImageWriterBinding::index>("index"),
                                                InstanceMethod<&ImageWriterBinding::close>("close")}));
}

ImageWriterBinding::ImageWriterBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsObject()) {
    Napi::TypeError::New(info.Env(), "options must be an object").ThrowAsJavaScriptException();
    return;
  }
  const auto object = info[0].As<Napi::Object>();
  const auto memory = read_guest_memory(object.Get("memory"), "memory");
  if (!memory) return;
  ImageWriter::Options options;
  if (!read_options(object, options)) return;
  auto created = ImageWriter::create(*memory, options);
  if (!created) {
    throw_failure(info.Env(), created.failure());
    return;
  }
  writer_ = std::move(created).value();
}

Napi::Value ImageWriterBinding::write(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!writer_) return throw_closed(env, "MemoryImageWriter"), env.Undefined();
  std::optional<PageBitmap> present;
  if (!info[0].IsUndefined()) {
    present = read_page_bitmap(info[0], "present", writer_->pages());
    if (!present) return env.Undefined();
  }
  const auto write = [writer = writer_, present = std::move(present)](SpanJob& job) -> std::optional<ImageFault> {
    const auto written = writer->write(present ? &*present : nullptr, job);
    if (!written) return ImageFault{written.failure()};
    return {};
  };
  return job_.start(env, write);
}

void ImageWriterBinding::prepare_freeze(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!writer_) return throw_closed(env, "MemoryImageWriter");
  auto prepared = FrozenImage::prepare(writer_);
  if (!prepared) return throw_failure(env, prepared.failure());
  frozen_ = std::move(prepared).value();
}

Napi::Value ImageWriterBinding::freeze(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!writer_) return throw_closed(env, "MemoryImageWriter"), env.Undefined();
  if (!frozen_) return throw_failure(env, {EINVAL, "freeze memory"}), env.Undefined();
  std::optional<PageBitmap> present;
  if (!info[0].IsUndefined()) {
    present = read_page_bitmap(info[0], "present", writer_->pages());
    if (!present) return env.Undefined();
  }
  auto job = job_.prepare();
  if (!job) return throw_failure(env, job.failure()), env.Undefined();
  const std::shared_ptr<FrozenImage> frozen = std::exchange(frozen_, nullptr);
  const auto begun = frozen->freeze(present ? &*present : nullptr, std::move(job).value());
  if (!begun) return throw_failure(env, begun.failure()), env.Undefined();
  return job_.start(env, [frozen](SpanJob&) -> std::optional<ImageFault> {
    const auto written = frozen->wait();
    if (!written) return ImageFault{written.failure()};
    return {};
  });
}

Napi::Value ImageWriterBinding::progress(const Napi::CallbackInfo& info) { return job_.progress(info.Env()); }

void ImageWriterBinding::cancel(const Napi::CallbackInfo&) { job_.cancel(); }

Napi::Value ImageWriterBinding::index(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!writer_) return throw_closed(env, "MemoryImageWriter"), env.Undefined();
  const auto index = writer_->index();
  if (!index) return throw_failure(env, index.failure()), env.Undefined();
  const auto bytes = index.value().encode();
  return copy_bytes(env, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

void ImageWriterBinding::close(const Napi::CallbackInfo&) {
  job_.cancel();
  frozen_.reset();
  writer_.reset();
}

}  // namespace tsvmm
