defmodule MQTT.Broker.Passwords.Lines do
  @moduledoc false
  # The lines of a password file, and how it is replaced by others.

  import Bitwise, only: [&&&: 2]

  # As many symbolic links are followed; Linux follows 40 as well.
  @max_links 40

  @spec read(Path.t()) :: {:ok, [binary]} | {:error, String.t()}
  def read(path) do
    case File.read(path) do
      {:ok, ""} -> {:ok, []}
      {:ok, text} -> {:ok, text |> String.replace_suffix("\n", "") |> String.split("\n")}
      {:error, reason} -> error(path, reason)
    end
  end

  @doc "The user name and what is behind its colon, both without blanks around, as mosquitto has them."
  @spec parse(binary) :: nil | {user :: binary, hash :: binary} | :error
  def parse(line) do
    case trim(line) do
      "" ->
        nil

      "#" <> _ ->
        nil

      line ->
        case :binary.split(line, ":") do
          [user, hash] -> {trim(user), trim(hash)}
          [_] -> :error
        end
    end
  end

  @doc "Whether the line is one of the user."
  @spec of?(binary, String.t()) :: boolean
  def of?(line, user), do: match?({^user, _}, parse(line))

  @doc """
  Writes the file: either all of it is there afterwards, or what was. A new one is its owner's to read and
  write; one that was there keeps its owner and mode.
  """
  @spec write(Path.t(), [binary]) :: :ok | {:error, String.t()}
  def write(path, lines) do
    target = follow(path, @max_links)
    temporary = "#{target}.#{Base.encode16(:crypto.strong_rand_bytes(8))}"

    # It has its mode before it has a password.
    with :ok <- File.write(temporary, "", [:exclusive]),
         :ok <- File.chmod(temporary, 0o600),
         :ok <- File.write(temporary, Enum.map(lines, &[&1, "\n"]), [:sync]),
         :ok <- keep_owner(target, temporary),
         :ok <- File.rename(temporary, target) do
      :ok
    else
      {:error, reason} ->
        _ = File.rm(temporary)
        error(path, reason)
    end
  end

  defp follow(path, links) do
    case File.read_link(path) do
      {:ok, target} when links > 0 -> follow(Path.expand(target, Path.dirname(path)), links - 1)
      _ -> path
    end
  end

  # Who may not give the file away keeps it, with a mode that does not matter to others.
  defp keep_owner(path, temporary) do
    with {:ok, %File.Stat{mode: mode, uid: uid, gid: gid}} <- File.stat(path),
         :ok <- :file.change_owner(temporary, uid, gid) do
      File.chmod(temporary, mode &&& 0o777)
    else
      {:error, reason} when reason in [:enoent, :eperm, :enotsup] -> :ok
      error -> error
    end
  end

  # Blanks of ASCII; the names need not be UTF-8 here.
  defp trim(text), do: Regex.replace(~r/\A\s+|\s+\z/, text, "")

  defp error(path, reason), do: {:error, "#{path}: #{:file.format_error(reason)}"}
end
