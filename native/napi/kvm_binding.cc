#include "napi/kvm_binding.h"

#include <cstring>

#include "napi/addon_data.h"
#include "napi/arguments.h"
#include "napi/vm_binding.h"

namespace tsvmm {

namespace {

Napi::Value copy_indices(Napi::Env env, const Result<std::vector<uint32_t>>& indices) {
  if (!indices) return throw_failure(env, indices.failure()), env.Undefined();
  auto array = Napi::Uint32Array::New(env, indices.value().size());
  std::ranges::copy(indices.value(), array.Data());
  return array;
}

}  // namespace

void KvmBinding::define(Napi::Env env, Napi::Object exports) {
  exports.Set("Kvm", DefineClass(env, "Kvm",
                                 {InstanceMethod<&KvmBinding::check_extension>("checkExtension"),
                                  InstanceMethod<&KvmBinding::supported_cpuid>("supportedCpuid"),
                                  InstanceMethod<&KvmBinding::msr_indices>("msrIndices"),
                                  InstanceMethod<&KvmBinding::feature_msr_indices>("featureMsrIndices"),
                                  InstanceMethod<&KvmBinding::feature_msrs>("featureMsrs"),
                                  InstanceMethod<&KvmBinding::create_vm>("createVm"),
                                  InstanceMethod<&KvmBinding::close>("close")}));
}

KvmBinding::KvmBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto path = read_string(info[0], "path");
  if (!path) return;
  auto opened = Kvm::open(*path);
  if (!opened) {
    throw_failure(info.Env(), opened.failure());
    return;
  }
  kvm_.emplace(std::move(opened).value());
}

bool KvmBinding::is_open(Napi::Env env) const {
  if (!kvm_) throw_closed(env, "Kvm");
  return kvm_.has_value();
}

Napi::Value KvmBinding::check_extension(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto capability = read_uint(info[0], "capability", UINT32_MAX);
  if (!capability) return env.Undefined();
  return Napi::Number::New(env, kvm_->check_extension(*capability));
}

Napi::Value KvmBinding::supported_cpuid(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto entries = kvm_->supported_cpuid();
  if (!entries) return throw_failure(env, entries.failure()), env.Undefined();
  return copy_bytes(env, entries.value());
}

Napi::Value KvmBinding::msr_indices(const Napi::CallbackInfo& info) {
  return is_open(info.Env()) ? copy_indices(info.Env(), kvm_->msr_indices()) : info.Env().Undefined();
}

Napi::Value KvmBinding::feature_msr_indices(const Napi::CallbackInfo& info) {
  return is_open(info.Env()) ? copy_indices(info.Env(), kvm_->feature_msr_indices()) : info.Env().Undefined();
}

Napi::Value KvmBinding::feature_msrs(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto indices = read_words<uint32_t>(info[0], "indices");
  if (!indices) return env.Undefined();
  const auto values = kvm_->feature_msrs(*indices);
  if (!values) return throw_failure(env, values.failure()), env.Undefined();
  return copy_words(env, values.value());
}

Napi::Value KvmBinding::create_vm(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto mapping_size = kvm_->vcpu_mapping_size();
  if (!mapping_size) return throw_failure(env, mapping_size.failure()), env.Undefined();
  auto fd = kvm_->create_vm();
  if (!fd) return throw_failure(env, fd.failure()), env.Undefined();
  return VmBinding::make(env, std::make_shared<VmHost>(env, Vm(std::move(fd).value()), mapping_size.value()));
}

void KvmBinding::close(const Napi::CallbackInfo&) { kvm_.reset(); }

}  // namespace tsvmm
