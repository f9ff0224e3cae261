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
  @environment ~w(CARGO_BUILD_TARGET RUSTFLAGS CARGO_ENCODED_RUSTFLAGS)

  @impl true
  def run(_args) do
    profile = profile()
    stamp = stamp(profile)

    if File.exists?(@artefact) and File.read(@stamp) == {:ok, stamp} do
      :noop
    else
      build(profile)
      File.write!(@stamp, stamp)
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
    sources = for file <- files, do: [Path.relative_to(file, @root), File.read!(file)]
    environment = for name <- @environment, do: [name, System.get_env(name, ""), "\n"]
    Base.encode16(:erlang.md5([profile, "\n", environment, sources]), case: :lower)
  end

  defp build(profile) do
    unless :os.type() == {:unix, :linux},
      do: Mix.raise("The native part of :mqtt is built for Linux with glibc only.")

    cargo = cargo()
    Mix.shell().info("Building the native part of :mqtt with cargo (#{profile} profile)")

    arguments =
      ["build", "--package", "mqtt_nif", "--locked", "--target-dir", @target] ++
        if(profile == "release", do: ["--release"], else: [])

    # cargo puts back what has not changed, and leaves nothing of another target to be taken for it.
    Enum.each(candidates(profile), &File.rm!/1)

    case System.cmd(cargo, arguments, cd: @root, into: IO.stream(), stderr_to_stdout: true) do
      {_, 0} ->
        install(profile)

      {_, _} ->
        Mix.raise("cargo could not build the native part of :mqtt; its messages are above.")
    end
  end

  # Renamed into its place: a running virtual machine may have the old one mapped.
  defp install(profile) do
    new = "#{@artefact}.#{System.pid()}"
    File.mkdir_p!(Path.dirname(@artefact))
    File.cp!(built(profile), new)
    File.rename!(new, @artefact)
  end

  # cargo puts it into a folder of the target's name if it was told one, here or in its own
  # configuration.
  defp built(profile) do
    case candidates(profile) do
      [] ->
        Mix.raise(
          "cargo has built no libmqtt_nif.so under #{@target}; it can for Linux with glibc."
        )

      [built | _] ->
        built
    end
  end

  defp candidates(profile) do
    folders = [Path.join(@target, profile), Path.join([@target, "*", profile])]
    Enum.flat_map(folders, &Path.wildcard(Path.join(&1, "libmqtt_nif.so")))
  end

  defp cargo do
    {major, minor} = @oldest
    wanted = "The native part of :mqtt is built with Rust #{major}.#{minor} or later"

    cargo =
      System.find_executable("cargo") ||
        Mix.raise(
          "#{wanted}, and there is no cargo in the PATH; see rust-lang.org/tools/install."
        )

    {text, _status} = System.cmd(cargo, ["--version"], stderr_to_stdout: true)

    with [_, major, minor] <- Regex.run(~r/^cargo (\d+)\.(\d+)/, text),
         true <- {String.to_integer(major), String.to_integer(minor)} >= @oldest do
      cargo
    else
      _ -> Mix.raise("#{wanted}, and cargo --version says: #{String.trim(text)}")
    end
  end
end
