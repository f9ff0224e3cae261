defmodule Mix.Tasks.Compile.MqttNative do
  @moduledoc """
  Builds the native part of `:mqtt` with cargo and puts it under `priv/`.

  Nothing runs while neither the sources nor the profile have changed. `MQTT_NATIVE_PROFILE=debug`
  in the environment builds without optimisation; the default is `release`.
  """

  use Mix.Task.Compiler

  @root Path.expand("..", __DIR__)
  @target Path.join(@root, "target")
  @stamp Path.join(@target, "mqtt_nif.stamp")
  @artefact Path.join(@root, "priv/native/mqtt_nif.so")
  @oldest {1, 91}

  @impl true
  def run(_args) do
    profile = profile()
    stamp = stamp(profile)

    if File.exists?(@artefact) and File.read(@stamp) == {:ok, stamp} do
      :noop
    else
      build(profile)
      # After the build, because the first one may write Cargo.lock.
      File.write!(@stamp, stamp(profile))
      # The build directory gets its link to priv only once priv exists.
      Mix.Project.build_structure()
      :ok
    end
  end

  @impl true
  def clean do
    File.rm(@stamp)
    File.rm(@artefact)
    :ok
  end

  defp profile do
    case System.get_env("MQTT_NATIVE_PROFILE", "release") do
      profile when profile in ["release", "debug"] ->
        profile

      other ->
        Mix.raise("MQTT_NATIVE_PROFILE must be release or debug, and it is #{inspect(other)}.")
    end
  end

  # What the artefact depends on.
  defp stamp(profile) do
    patterns = ["Cargo.{toml,lock}", "native/*/{Cargo.toml,build.rs}", "native/*/src/**/*.rs"]
    files = Enum.flat_map(patterns, &Path.wildcard(Path.join(@root, &1)))
    hash = Enum.map(files, fn file -> [Path.relative_to(file, @root), File.read!(file)] end)
    Base.encode16(:erlang.md5([profile, "\n", hash]), case: :lower)
  end

  defp build(profile) do
    cargo = cargo()
    Mix.shell().info("Building the native part of :mqtt with cargo (#{profile} profile)")

    arguments =
      ["build", "--package", "mqtt_nif", "--locked", "--target-dir", @target] ++
        if(profile == "release", do: ["--release"], else: [])

    case System.cmd(cargo, arguments, cd: @root, into: IO.stream(), stderr_to_stdout: true) do
      {_, 0} ->
        install(profile)

      {_, _} ->
        Mix.raise("cargo could not build the native part of :mqtt; its messages are above.")
    end
  end

  # Renamed into its place: a running virtual machine may have the old one mapped.
  defp install(profile) do
    triple = System.get_env("CARGO_BUILD_TARGET", "")
    directory = Path.join([@target, triple, profile])

    built =
      Enum.find(Path.wildcard(Path.join(directory, "libmqtt_nif.{so,dylib}")), &File.exists?/1)

    File.mkdir_p!(Path.dirname(@artefact))
    File.cp!(built, @artefact <> ".new")
    File.rename!(@artefact <> ".new", @artefact)
  end

  defp cargo do
    {major, minor} = @oldest
    wanted = "The native part of :mqtt is built with Rust #{major}.#{minor} or later"

    cargo =
      System.find_executable("cargo") ||
        Mix.raise(
          "#{wanted}, and there is no cargo in the PATH; see rust-lang.org/tools/install."
        )

    {text, 0} = System.cmd(cargo, ["--version"])

    with [_, major, minor] <- Regex.run(~r/^cargo (\d+)\.(\d+)/, text),
         true <- {String.to_integer(major), String.to_integer(minor)} >= @oldest do
      cargo
    else
      _ ->
        Mix.raise(
          "#{wanted}, and this is #{String.trim(text)}; rustup update brings a newer one."
        )
    end
  end
end
