/**
 * Environment variables that the system, Node, GPU drivers and ONNX Runtime read. A process that needs no settings gets only
 * these, so that no key, password or token is in its memory.
 */
const SYSTEM = [
  // The system and its libraries.
  /^(PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TMP|TEMP|TZ|LANG|LANGUAGE|HOSTNAME|PWD)$/,
  /^(LC_|LD_|DYLD_|MALLOC_|GLIBC_|XDG_)/,
  /^(SystemRoot|SystemDrive|windir|ComSpec|PATHEXT|ProgramData|APPDATA|LOCALAPPDATA)$/i,
  // Node. Other NODE_ names belong to npm, such as NODE_AUTH_TOKEN.
  /^NODE_(ENV|OPTIONS|PATH|ICU_DATA|EXTRA_CA_CERTS|NO_WARNINGS|COMPILE_CACHE.*|DISABLE_COMPILE_CACHE|V8_COVERAGE|REPORT_.*)$/,
  /^UV_THREADPOOL_SIZE$/,
  // ONNX Runtime, its threads, and its execution providers.
  /^(ORT|ONNXRUNTIME|OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|DNNL|ONEDNN|TBB)_/,
  /^(CUDA|CUDNN|NVIDIA|NCCL|TENSORRT|HIP|HSA|ROCM|ROCR|MIGRAPHX|AMD|OPENVINO|OV|ONEAPI|ZE|SYCL|QNN|COREML|GPU|CL)_/,
];

/** Names of secrets, such as NVIDIA_API_KEY, which no library on the machine needs. */
const LIKE_A_SECRET = /KEY|SECRET|TOKEN|PASS(WORD|WD|PHRASE)|CREDENTIAL|AUTH/i;

/** The variables for any process. @param also names of further ones */
export function systemVariables(env: NodeJS.ProcessEnv, also: readonly string[] = []): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(
      ([name]) =>
        also.includes(name) || (!LIKE_A_SECRET.test(name) && SYSTEM.some((pattern) => pattern.test(name))),
    ),
  );
}
