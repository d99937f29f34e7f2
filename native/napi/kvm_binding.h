#pragma once

#include <napi.h>

#include <optional>

#include "kvm/kvm.h"

namespace tsvmm {

class KvmBinding : public Napi::ObjectWrap<KvmBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit KvmBinding(const Napi::CallbackInfo& info);

 private:
  Napi::Value check_extension(const Napi::CallbackInfo& info);
  Napi::Value supported_cpuid(const Napi::CallbackInfo& info);
  Napi::Value msr_indices(const Napi::CallbackInfo& info);
  Napi::Value feature_msr_indices(const Napi::CallbackInfo& info);
  Napi::Value feature_msrs(const Napi::CallbackInfo& info);
  Napi::Value create_vm(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  bool is_open(Napi::Env env) const;

  std::optional<Kvm> kvm_;
};

}  // namespace tsvmm
