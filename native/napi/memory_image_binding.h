#pragma once

#include <napi.h>

#include <memory>

#include "memory/image_chain.h"
#include "memory/layered_mapping.h"
#include "napi/image_job.h"

namespace tsvmm {

class MemoryImageBinding : public Napi::ObjectWrap<MemoryImageBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit MemoryImageBinding(const Napi::CallbackInfo& info);

  // nullptr once it is closed.
  const std::shared_ptr<const ImageChain>& chain() const { return chain_; }

 private:
  Napi::Value pages(const Napi::CallbackInfo& info);
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value verify(const Napi::CallbackInfo& info);
  Napi::Value map(const Napi::CallbackInfo& info);
  Napi::Value counts(const Napi::CallbackInfo& info);
  Napi::Value progress(const Napi::CallbackInfo& info);
  void cancel(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<const ImageChain> chain_;
  MappingBudget budget_;
  ImageJob job_;
};

}  // namespace tsvmm
