#pragma once

#include <napi.h>

#include <memory>

#include "memory/frozen_image.h"
#include "memory/image_writer.h"
#include "napi/image_job.h"

namespace tsvmm {

class ImageWriterBinding : public Napi::ObjectWrap<ImageWriterBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit ImageWriterBinding(const Napi::CallbackInfo& info);

 private:
  Napi::Value write(const Napi::CallbackInfo& info);
  void prepare_freeze(const Napi::CallbackInfo& info);
  Napi::Value freeze(const Napi::CallbackInfo& info);
  Napi::Value progress(const Napi::CallbackInfo& info);
  void cancel(const Napi::CallbackInfo& info);
  Napi::Value index(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<ImageWriter> writer_;
  std::shared_ptr<FrozenImage> frozen_;
  ImageJob job_;
};

}  // namespace tsvmm
