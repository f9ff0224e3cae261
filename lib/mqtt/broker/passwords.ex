defmodule MQTT.Broker.Passwords do
  @moduledoc """
  User names and passwords in a file, in the format of mosquitto's `password_file`:

      # One line a user.
      roger:$7$210000$<salt>$<hash>

  A file that `mosquitto_passwd` has made is used as it is, and `mix mqtt.passwd` makes one where there
  is no mosquitto. Empty lines and lines that begin with `#` are of no meaning.

      :ok = MQTT.Broker.Passwords.create("passwords", "roger", "secret")
      {:ok, passwords} = MQTT.Broker.Passwords.load("passwords")
      true = MQTT.Broker.Passwords.verify(passwords, "roger", "secret")

  ## Hashes

  A password is hashed by PBKDF2 with HMAC-SHA512, a salt of 64 bytes and, by default, 210,000
  iterations, as OWASP recommends and mosquitto 2.1 does; mosquitto 2.0 reads salts of 12 bytes only. The hashes
  of mosquitto 1.x, `$6$`, are accepted but can be guessed very fast, as can those of mosquitto 2.0 with its 101
  iterations. The argon2id of mosquitto 2.1 is not accepted: `mosquitto_passwd -H sha512-pbkdf2`.

  A verification takes about a tenth of a second of a processor, on a dirty scheduler; before OTP 27
  half a second, on a normal one from which it can be preempted. It belongs into the connection's
  process.

  ## Options of `create/4`, `put/4` and `hash/2`

  #{MQTT.Options.docs(MQTT.Broker.Passwords.Hash.schema())}
  """

  alias MQTT.Broker.Passwords.{Hash, Lines}
  alias MQTT.Options

  # Nothing of it belongs into a log.
  @derive {Inspect, only: []}
  @enforce_keys [:users, :costliest]
  defstruct @enforce_keys

  @typedoc "What `load/1` has read."
  @opaque t :: %__MODULE__{
            users: %{optional(String.t()) => Hash.t()},
            costliest: Hash.t() | nil
          }

  # Strings of MQTT are not longer.
  @max_size 65_535

  @doc """
  Reads a file. An error is a sentence that names the file and, where one is wrong, the line:

      iex> MQTT.Broker.Passwords.load("/none/passwords")
      {:error, "/none/passwords: no such file or directory"}

  """
  @spec load(Path.t()) :: {:ok, t} | {:error, String.t()}
  def load(path) do
    with {:ok, lines} <- Lines.read(path),
         {:ok, users} <- lines |> Enum.with_index(1) |> read_users(%{}, path) do
      users = Map.new(users, fn {user, {hash, _line}} -> {user, hash} end)

      {:ok,
       %__MODULE__{users: users, costliest: users |> Map.values() |> Enum.max(fn -> nil end)}}
    end
  end

  defp read_users([], users, _path), do: {:ok, users}

  defp read_users([{line, number} | lines], users, path) do
    case read_user(Lines.parse(line), users) do
      nil -> read_users(lines, users, path)
      {:ok, user, hash} -> read_users(lines, Map.put(users, user, {hash, number}), path)
      {:error, what} -> {:error, "#{path}, line #{number}: #{what}"}
    end
  end

  defp read_user(nil, _users), do: nil
  defp read_user(:error, _users), do: {:error, "there is no colon between user name and password"}

  defp read_user({user, hash}, users) do
    with :ok <- check_user(user),
         :ok <- check_new(user, users),
         {:ok, hash} <- Hash.decode(hash) do
      {:ok, user, hash}
    end
  end

  defp check_new(user, users) do
    case users do
      %{^user => {_, number}} ->
        {:error, "the user #{inspect(user)} is in line #{number} already"}

      _ ->
        :ok
    end
  end

  @doc """
  Whether it is the user's password. An unknown user costs as much as the one with the most iterations, so
  that the time does not tell who is known. Without a user name or a password it is `false`.
  """
  @spec verify(t, String.t() | nil, binary | nil) :: boolean
  def verify(%__MODULE__{}, user, password) when is_nil(user) or is_nil(password), do: false

  def verify(%__MODULE__{users: users, costliest: costliest}, user, password)
      when is_binary(user) and is_binary(password) do
    case users do
      %{^user => hash} ->
        Hash.verify(hash, password)

      _ ->
        if costliest, do: Hash.verify(costliest, password)
        false
    end
  end

  @doc """
  The password as it stands behind the user name in a file.

      iex> "secret" |> MQTT.Broker.Passwords.hash(iterations: 1000) |> String.starts_with?("$7$1000$")
      true

  """
  @spec hash(binary, keyword) :: String.t()
  def hash(password, options \\ []) when is_binary(password) do
    %{iterations: iterations} = Options.validate!(options, Hash.schema(), inspect(__MODULE__))
    password |> Hash.new(iterations) |> Hash.encode()
  end

  @doc """
  Writes a file with this user only, in the place of one that may be there. A new file can be read by its
  owner only. An error is a sentence that names the file.

  User names are not empty, have neither `:` nor control characters, do not begin with `#`, and do not
  begin or end with a space, which would not survive in the file.
  """
  @spec create(Path.t(), String.t(), binary, keyword) :: :ok | {:error, String.t()}
  def create(path, user, password, options \\ []) do
    with {:ok, line} <- line(user, password, options) do
      Lines.write(path, [line])
    end
  end

  @doc """
  Sets the password of a user, who is added at the end of the file if it has no such user. All
  other lines stay as they are, also those that `load/1` would refuse. The file has to be there, and
  is replaced at once: nobody sees half of it.
  """
  @spec put(Path.t(), String.t(), binary, keyword) :: :ok | {:error, String.t()}
  def put(path, user, password, options \\ []) do
    with {:ok, lines} <- Lines.read(path),
         {:ok, line} <- line(user, password, options) do
      # The first of the user's lines is replaced, and others, which should not be, go.
      {before, lines} = Enum.split_while(lines, &(not Lines.of?(&1, user)))
      Lines.write(path, before ++ [line | Enum.reject(lines, &Lines.of?(&1, user))])
    end
  end

  @doc "Removes a user from the file, as `put/4` adds one. It is an error if there is none."
  @spec delete(Path.t(), String.t()) :: :ok | {:error, String.t()}
  def delete(path, user) do
    with {:ok, lines} <- Lines.read(path) do
      case Enum.reject(lines, &Lines.of?(&1, user)) do
        ^lines -> {:error, "#{path}: there is no user #{inspect(user)}"}
        lines -> Lines.write(path, lines)
      end
    end
  end

  defp line(user, password, options) do
    with :ok <- check_user(user),
         :ok <- check_password(password) do
      {:ok, "#{user}:#{hash(password, options)}"}
    end
  end

  @doc false
  @spec check_user(binary) :: :ok | {:error, String.t()}
  def check_user(user) do
    cond do
      user == "" -> {:error, "the user name is empty"}
      byte_size(user) > @max_size -> {:error, "the user name has more than #{@max_size} bytes"}
      not String.valid?(user) -> {:error, "the user name is not UTF-8"}
      user =~ ~r/[\x00-\x1F\x7F]/ -> {:error, "the user name has a control character"}
      String.contains?(user, ":") -> {:error, "the user name has a colon"}
      String.starts_with?(user, "#") -> {:error, "the user name begins with #, as a comment does"}
      user =~ ~r/\A\s|\s\z/ -> {:error, "the user name begins or ends with a space"}
      true -> :ok
    end
  end

  defp check_password(""), do: {:error, "the password is empty"}

  defp check_password(password) when byte_size(password) > @max_size,
    do: {:error, "the password has more than #{@max_size} bytes"}

  defp check_password(_password), do: :ok
end
