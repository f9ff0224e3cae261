defmodule Mix.Tasks.Mqtt.Passwd do
  @shortdoc "Sets passwords in a file of MQTT users"

  @moduledoc """
  Sets the password of a user in a file for `MQTT.Broker.Passwords`, or removes a user, as
  `mosquitto_passwd` does.

      $ mix mqtt.passwd --create passwords roger
      Password:
      Reenter password:
      $ mix mqtt.passwd passwords anna
      $ mix mqtt.passwd --delete passwords roger

  The file must be there already, unless it is created. The password is asked for twice and not shown.
  Where standard input is no terminal, its first line is the password:

      $ mix mqtt.passwd passwords anna < secret

  ## Options

  They stand before the file.

    * `-c`, `--create` - makes a new file with this user only. One that is there is overwritten.

    * `-b`, `--batch` - takes the password as the third argument. Others can see it in the list of
      processes, and it may stay in the history of the shell.

    * `-D`, `--delete` - removes the user.

    * `-I`, `--iterations` - how often the password is hashed, by default 210,000 times. It takes as
      long each time that it is checked.

  """

  use Mix.Task

  alias MQTT.Broker.Passwords

  @usage "mix mqtt.passwd [--create] [--batch] [--iterations N] FILE USER [PASSWORD], " <>
           "or mix mqtt.passwd --delete FILE USER"
  @options [
    strict: [create: :boolean, batch: :boolean, delete: :boolean, iterations: :integer],
    aliases: [c: :create, b: :batch, D: :delete, I: :iterations]
  ]

  @impl Mix.Task
  def run(argv) do
    # A password may look like an option.
    {options, arguments, invalid} = OptionParser.parse_head(argv, @options)

    for {option, _} <- invalid,
        do: Mix.raise("unknown or wrong option #{option}; usage: #{@usage}")

    {hashing, options} = Keyword.split(options, [:iterations])
    check_hashing!(hashing)
    modes = for {mode, true} <- options, uniq: true, do: mode

    case {Enum.sort(modes), arguments} do
      {[:delete], [file, user]} -> file |> Passwords.delete(user) |> check!()
      {[:batch], [file, user, password]} -> put!(file, user, password, hashing)
      {[:batch, :create], [file, user, password]} -> create!(file, user, password, hashing)
      {[:create], [file, user]} -> create!(file, user, ask!(user), hashing)
      {[], [file, user]} -> put!(file, user, ask!(file, user), hashing)
      _ -> Mix.raise("usage: #{@usage}")
    end
  end

  defp check_hashing!(hashing) do
    _ = MQTT.Options.validate!(hashing, Passwords.Hash.schema(), "mix mqtt.passwd")
    :ok
  rescue
    error in ArgumentError -> Mix.raise(Exception.message(error))
  end

  defp create!(file, user, password, hashing),
    do: file |> Passwords.create(user, password, hashing) |> check!()

  defp put!(file, user, password, hashing),
    do: file |> Passwords.put(user, password, hashing) |> check!()

  defp check!(:ok), do: :ok
  defp check!({:error, message}), do: Mix.raise(message)

  # Nobody is asked in vain.
  defp ask!(file, user) do
    unless File.exists?(file), do: Mix.raise("#{file}: no such file; make it with --create")
    ask!(user)
  end

  defp ask!(user) do
    user |> Passwords.check_user() |> check!()

    case hide_input() do
      {:ok, hidden} ->
        try do
          password = read!("Password: ", "\n")

          if read!("Reenter password: ", "\n") != password,
            do: Mix.raise("passwords do not match")

          password
        after
          show_input(hidden)
        end

      :no_terminal ->
        read!("", "")
    end
  end

  defp read!(prompt, feed) do
    case IO.gets(prompt) do
      line when is_binary(line) ->
        IO.write(feed)
        line |> String.trim_trailing("\n") |> String.trim_trailing("\r")

      _ ->
        Mix.raise("no password was entered")
    end
  end

  # OTP can ask for a password from 28 on only. The shell has the terminal that this program has as
  # standard input, and talks on descriptors 3 and 4. When its 3 ends, also because this program was
  # killed, the terminal is again as it was. In the background it would be stopped by TTOU.
  @hide """
  test -t 0 || exit 1
  trap '' TTOU INT
  before=$(stty -g) && stty -echo || exit 1
  echo hidden >&4
  read -r end <&3
  stty "$before"
  """

  defp hide_input do
    shell = System.find_executable("sh")

    # Input that comes from elsewhere, as in tests, is no terminal.
    if shell && Process.group_leader() == Process.whereis(:user) do
      options = [:nouse_stdio, :binary, :exit_status, args: ["-c", @hide]]
      port = Port.open({:spawn_executable, shell}, options)

      receive do
        {^port, {:data, _}} -> {:ok, port}
        {^port, {:exit_status, _}} -> :no_terminal
      end
    else
      :no_terminal
    end
  end

  defp show_input(port) do
    Port.command(port, "\n")

    receive do
      {^port, {:exit_status, _}} -> :ok
    end
  end
end
